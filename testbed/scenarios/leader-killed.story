story The leader of the region's shields is killed

# Nobody can commit a purge until the others have elected one of them. Who purges asks again; who reads sees nothing.
topology laptop

reads 60/s of 60 objects
purges 4/s
clients move

at 4s kill leader:eu
at 10s start killed
lasts 14s

expect no failed requests
expect some acknowledged purges at spared while nodes are dead
expect at least 95% acknowledged purges
expect all nodes level within 20s
