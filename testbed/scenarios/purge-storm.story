story 10,000 purges while the nodes of a region stand still

pop lon of eu, 3 nodes
pop nyc of us, 1 node

reads 20/s of 100 objects, through lon
purges 0/s

at 2s pause nyc-1
at 3s storm of 10000 purges, 128 at once, waiting for committed, through lon
at 24s resume nyc-1
lasts 26s
settles within 40s

expect no failed requests at lon
expect at least 10000 acknowledged purges
expect at least 99% acknowledged purges
expect all nodes level within 30s
