import sys, torch, time, os
import numpy as np
torch.set_num_threads(1)
import seeing_words.models.train as T
if __name__=='__main__':
    c='/work/train/clips4000.npy'
    if not os.path.exists(c): np.save(c,T.training_clips(4000))
    T._shared_clips=lambda n: np.load(c)[:n]  # the same film, rendered once
    for name in sys.argv[1:]:
        t=time.process_time(); T.train_network(name,'/work/train/networks',snapshots='/work/train/steps'); print(name,time.process_time()-t,flush=True)
