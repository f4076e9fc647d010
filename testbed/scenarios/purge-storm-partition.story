story 10,000 purges while the regions are cut off from each other

pop lon of eu, 3 nodes
pop nyc of us, 3 nodes
network

reads 20/s of 100 objects
purges 0/s

at 2s cut eu from us
at 3s storm of 10000 purges, 128 at once, waiting for committed, through eu
at 35s heal
lasts 38s
settles within 40s

expect no failed requests
expect at least 10000 acknowledged purges while nodes are cut off
expect all nodes level within 30s
