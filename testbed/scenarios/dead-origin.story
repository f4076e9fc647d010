story The origin dies, and stale content stands in for it

# Content of this host is fresh for two seconds, and may be used for ten minutes when the origin fails.
topology laptop

reads 60/s of 30 objects, hosts stale
purges 0/s

at 0s warm all
at 4s origin dead
at 12s origin well
lasts 15s

expect no failed requests
expect at least 60% stale answers while the origin is dead
expect at least 60% answers after 13s
