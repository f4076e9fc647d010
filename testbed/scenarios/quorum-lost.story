story Two of three voters stand still: no quorum, no purge, but content

topology laptop

# Only the third is asked, so what it cannot do nobody does for it.
reads 40/s of 40 objects, hosts available, through lon-3
purges 2/s

at 0s warm lon-3
at 4s pause lon-1+lon-2
at 14s resume lon-1+lon-2
lasts 20s

expect no failed requests at lon-3
expect no acknowledged purges while nodes are paused
expect some acknowledged purges after 15s
expect all nodes level within 20s
