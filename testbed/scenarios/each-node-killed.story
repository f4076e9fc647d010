story Each node is killed under load, one after the other

topology laptop

reads 100/s of 60 objects, 30% over h2, up to 256KiB
purges 2/s
clients move

at 2s kill lon-1
at 6s start killed
at 9s kill lon-2
at 13s start killed
at 16s kill lon-3
at 20s start killed
lasts 24s

expect no failed requests
expect at least 95% acknowledged purges
expect all nodes level within 20s
