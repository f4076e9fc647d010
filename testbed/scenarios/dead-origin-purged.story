story The origin dies right after a purge: what is purged is not served, all else is

topology laptop

reads 60/s of 30 objects, hosts available
purges 2/s

at 0s warm all
at 4s origin dead
at 10s origin well
lasts 14s

# Who asks for what was just purged gets an error, and not the old content: that is what the judge looks at.
expect some hits while the origin is dead
expect no failed requests before 3s
expect no failed requests after 11s
expect all nodes level within 15s
