story What one node writes does not reach its disk

# Nobody restarts it: it has to see by itself that its disk is well again, and to catch up.
topology laptop

reads 60/s of 60 objects
purges 2/s
clients move

at 3s disk lon-2 failing
at 13s disk lon-2 well
lasts 18s

expect no failed requests
expect some acknowledged purges while a disk is bad
expect some acknowledged purges after 14s
expect all nodes level within 20s
