story Two PoPs do not hear each other, and a third hears both

pop lon of eu, 2 nodes
pop fra of eu, 1 node
pop nyc of us, 2 nodes
network

reads 60/s of 60 objects
purges 2/s

at 4s cut lon from nyc
at 9s cut fra from lon one-way
at 16s heal
lasts 20s

expect no failed requests
expect some acknowledged purges at lon while nodes are cut off
expect some acknowledged purges at nyc while nodes are cut off
expect all nodes level within 20s
