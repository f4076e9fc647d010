story Nine nodes of three regions are restarted, one after the other, under load

topology three-regions

reads 100/s of 60 objects, 30% over h2, up to 256KiB
purges 1/s
clients move

at 3s restart all
lasts 60s

expect no failed requests
expect at least 95% acknowledged purges
expect all nodes level within 30s
