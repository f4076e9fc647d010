story The power of all nodes fails at once: what was not synced is gone

# What was acknowledged must be in all logs afterwards: the judge looks.
topology laptop

reads 40/s of 40 objects
purges 5/s

at 5s power-cut all
at 6s start killed
lasts 17s

expect some acknowledged purges before 5s
expect no failed requests before 4s
expect some acknowledged purges after 12s
expect all nodes level within 20s
