import numpy as np, sys, time
from dataclasses import replace
from concurrent.futures import ProcessPoolExecutor
from seeing_words.data.microworld.scene import *
from seeing_words.data.microworld.render import render
def clip(start, n=10):
    out=[]
    for sc in sample_clip(range(start,start+n)):
        t=replace(sc.things[0],count=1,size='big'); sc=replace(sc,things=(t,))
        out.append([render(moment(sc,m),seed=sc.seed+m*10**9).image for m in range(2)])
    return np.stack(out)
if __name__=='__main__':
    k=int(sys.argv[1]); t=time.time()
    with ProcessPoolExecutor(2) as p: c=np.stack(list(p.map(clip,TRAINING[:k*10:10],chunksize=16)))
    np.save(sys.argv[2],c); print(c.shape,time.time()-t)
