import sys, torch, time
torch.set_num_threads(1)
from seeing_words.models.train import train_network
for name in sys.argv[1:]:
    t=time.process_time(); train_network(name,'/work/train/networks',snapshots='/work/train/steps'); print(name,time.process_time()-t,flush=True)
