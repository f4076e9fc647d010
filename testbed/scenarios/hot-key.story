story Everybody wants the same object

# The origin gives it once to each region, and once more after each purge. No ranges: one that finds nothing stored
# may be asked of the origin by itself.
pop lon of eu, 3 nodes

reads 300/s of 1 object, hosts available, up to 64KiB, 30% over h2, 0% ranges
purges 0.5/s

at 6s reads 600/s
lasts 12s

expect no failed requests
expect at least 95% hits
expect origin asked at most 1 time per object, region and purge
