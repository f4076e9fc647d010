story A node freezes with all it has, and thaws

pop lon of eu, 3 nodes
pop nyc of us, 1 node
network

reads 40/s of 40 objects
purges 2/s
clients move

at 4s freeze lon-2
at 12s thaw lon-2
lasts 17s

expect no failed requests
expect some acknowledged purges at spared while nodes are paused
expect all nodes level within 20s
