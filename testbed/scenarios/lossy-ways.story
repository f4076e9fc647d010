story The ways between PoPs are slow and lose packets

pop lon of eu, 2 nodes
pop fra of eu, 1 node
pop nyc of us, 2 nodes
network
way lon nyc delay 35ms jitter 1ms
way fra nyc delay 40ms jitter 1ms
way lon fra delay 6ms

reads 60/s of 60 objects
purges 2/s

at 4s way lon nyc delay 150ms jitter 20ms loss 5% reorder 5%
at 4s way lon fra delay 50ms jitter 10ms loss 5%
at 16s heal
lasts 20s

expect no failed requests
expect at least 95% acknowledged purges
expect all nodes level within 20s
