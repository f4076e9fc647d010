story Wall clocks step by an hour, forward and back

topology laptop

reads 60/s of 60 objects
purges 2/s

at 3s clock lon-1 +1h
at 6s clock lon-2 -1h
at 9s clock lon-1 right
at 11s clock lon-2 right
lasts 14s

expect no failed requests
expect at least 95% acknowledged purges
expect all nodes level within 15s
