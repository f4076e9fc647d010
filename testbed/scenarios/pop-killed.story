story A whole PoP is killed, and with it its region's quorum

pop lon of eu, 2 nodes
pop fra of eu, 1 node
pop nyc of us, 3 nodes

reads 60/s of 60 objects
purges 2/s
clients move

at 4s kill lon
at 11s start killed
lasts 16s

expect no failed requests
expect some acknowledged purges at fra while nodes are dead
expect all nodes level within 20s
