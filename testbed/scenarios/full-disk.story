story The leader's disk is full for a while

topology laptop

reads 60/s of 60 objects
purges 2/s
clients move

at 3s disk leader:eu full
at 10s disk all well
lasts 15s

expect no failed requests
expect some acknowledged purges while a disk is bad
expect some acknowledged purges after 11s
expect all nodes level within 20s
