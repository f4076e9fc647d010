story A region is cut off from the others

# It has its quorum and goes on alone; strict content is revalidated with the origin, which both sides reach.
pop lon of eu, 3 nodes
pop nyc of us, 3 nodes
network

reads 60/s of 60 objects
purges 2/s

at 4s cut eu from us
at 16s heal
lasts 20s

expect no failed requests
expect some acknowledged purges at eu while nodes are cut off
expect some acknowledged purges at us while nodes are cut off
expect all nodes level within 20s
