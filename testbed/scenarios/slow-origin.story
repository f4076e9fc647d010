story The origin takes its time

topology laptop

reads 60/s of 40 objects
purges 1/s

at 0s warm all
at 3s origin slow 1s
at 11s origin well
lasts 14s

expect no failed requests
expect at least 50% hits while the origin is slow
expect all nodes level within 15s
