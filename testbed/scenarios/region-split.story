story A region falls into three parts, none of them with a quorum

pop lon of eu, 1 node
pop fra of eu, 1 node
pop par of eu, 1 node
network

reads 40/s of 40 objects, hosts available
purges 2/s

at 0s warm all
at 4s cut lon from fra+par
at 4s cut fra from par
at 16s heal
lasts 20s

expect no failed requests
expect no acknowledged purges between 7s and 15s
expect some acknowledged purges after 17s
expect all nodes level within 20s
