story Any single node is killed under load, and nobody notices

# Which one is chosen by the seed: `--times 20` kills twenty.
topology laptop

reads 100/s of 60 objects, 30% over h2, up to 256KiB
purges 1/s
clients move

at 3s kill random
at 7s start killed
lasts 11s

expect no failed requests
expect all nodes level within 20s
