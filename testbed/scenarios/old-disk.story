story A node comes back with the disk of some time ago

# It has stored what has been purged since, and must not serve it.
topology laptop

reads 60/s of 40 objects
purges 3/s
clients move

at 2s keep-disk lon-2
at 8s old-disk lon-2
at 9s start killed
lasts 15s

expect no failed requests
expect at least 90% acknowledged purges
expect all nodes level within 20s
