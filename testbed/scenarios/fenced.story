story A node stands still, and purges that wait for the fence are complete all the same

# Whoever cannot be reached stops trusting what it has stored; so nobody has to wait for it for ever.
pop lon of eu, 3 nodes
pop nyc of us, 1 node

reads 40/s of 40 objects, hosts strict, through lon
purges 3/s

at 0s warm all
at 3s pause nyc-1
at 13s resume nyc-1
lasts 16s

expect no failed requests at lon
expect some fenced purges while nodes are paused
expect all nodes level within 20s
