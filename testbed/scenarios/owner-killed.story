story The owner of objects is killed, and comes back

# The ring gives a third of all objects to each of the three. Whoever asks the owner must do without it at once.
topology laptop

# All objects are 64 bytes long, so that their URLs are known.
reads 60/s of 20 objects, hosts available, up to 64
purges 2/s
clients move

at 4s kill owner:http://available.test/o/0/0?bytes=64
at 10s start killed
lasts 14s

expect no failed requests
expect at least 50% hits
expect some acknowledged purges while nodes are dead
expect all nodes level within 20s
