import sys, numpy as np, time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from random import Random
from seeing_words.data.microworld.scene import *
from seeing_words.data.microworld.render import render
def moved(scene, moment):
    if moment==0: return scene
    rng=Random(f"moment-{scene.seed}-{moment}"); n=len(scene.things)
    slots=rng.sample(range(n),n)
    return replace(scene, things=tuple(replace(t, x=round((s+.5+rng.uniform(-.3,.3))/n,3), depth=round(rng.random(),3)) for t,s in zip(scene.things,slots)))
def clip(a):
    start,k,m,col,_=a
    first=sample_scene(start); rng=Random(f'palette-{start}'); pal=rng.sample(list(WORLD['colour']),4)
    out=[]
    for i in range(k):
        s=sample_scene(start+i,like=first)
        if col:
            ts=[]
            for t in s.things:
                ok=[c for c in THINGS[t.name].get('colours',list(WORLD['colour'])) if c in pal]
                ts.append(replace(t,colour=rng.choice(ok)) if ok else t)
            s=replace(s,things=tuple(ts))
        if a[4]: s=replace(s,things=(replace(s.things[0],size='big',count=s.things[0].count if rng.random()<.3 else 1),))
        out.append([render(moved(s,j),seed=s.seed+j*10**9).image for j in range(m)])
    return np.array(out)
if __name__=='__main__':
    t=time.time(); n=int(sys.argv[1])
    with ProcessPoolExecutor(2) as p: x=np.stack(list(p.map(clip,[(TRAINING.start+10*i,10,2,i%2,i%2==0 or i%8==1) for i in range(n)],chunksize=16)))
    np.save('_runs/clips3.npy',x); print(x.shape,time.time()-t)
