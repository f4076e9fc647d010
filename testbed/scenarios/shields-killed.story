story All shields of a region are killed at once

# Three of the five nodes of eu are voters. The two that are left have no group to ask: they go to the origin
# themselves, and their purges are committed by the other region.
pop lon of eu, 3 nodes
pop fra of eu, 2 nodes
pop nyc of us, 1 node
set region.voters_max = 3

reads 60/s of 60 objects
purges 2/s
clients move

at 4s kill shields:eu
at 11s start killed
lasts 16s

# Half of all nodes are dead. A client tries three, and has bad luck when all of them are; nobody that lives fails it.
expect failed requests only at struck
expect no errors
expect at most 25% failed requests while nodes are dead
expect some acknowledged purges at eu while nodes are dead
expect all nodes level within 20s
