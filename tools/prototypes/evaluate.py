"usage: ev.py visdir langdir [size] [n]"
import sys, numpy as np, torch, torch.nn.functional as F, time
from transformers import AutoModel, AutoModelForCausalLM
from tokenizers import Tokenizer
from seeing_words.data.microworld.scene import *
from seeing_words.data.microworld.caption import caption, text
from seeing_words.data.microworld.stimulus_set import microworld_stimuli, rerender
from seeing_words.data.perturb import perturb
from seeing_words.measures.predictivity import predictivity_grid, predictivity, mean_over_folds
from seeing_words.models.baselines import *
from seeing_words.studies.perturbations import fact_indicators, fact_scores
from seeing_words.measures.folds import make_folds
torch.set_num_threads(1)
vd,ld=sys.argv[1:3]; size=int(sys.argv[3]) if len(sys.argv)>3 else 48; N=int(sys.argv[4]) if len(sys.argv)>4 else 800
full=len(sys.argv)>5
S=microworld_stimuli(N,seeds=CHOOSING)
V=AutoModel.from_pretrained(vd).eval(); L=AutoModelForCausalLM.from_pretrained(ld).eval(); T=Tokenizer.from_file(ld+'/tokenizer.json')
@torch.no_grad()
def vis(im, net=V):
    x=torch.from_numpy(np.stack(list(im))).permute(0,3,1,2)/255
    if size!=x.shape[-1]: x=F.interpolate(x,size=(size,size),mode='bilinear',antialias=True,align_corners=False)
    out=[]
    for b in ((x-.5)/.25).split(200):
        h=net(b,output_hidden_states=True).hidden_states
        out.append(torch.stack([torch.stack([t[:,0],t[:,1:].mean(1)]) for t in h]))
    o=torch.cat(out,2).float().numpy(); return {'cls':o[:,0],'mean':o[:,1]}
@torch.no_grad()
def lan(caps, net=L):
    mean=[];last=[]
    for i in range(0,len(caps),200):
        ids=[[1]+T.encode(c).ids[1:] for c in caps[i:i+200]]; w=max(map(len,ids))
        t=torch.tensor([r+[0]*(w-len(r)) for r in ids]); m=(t!=0)
        h=net(input_ids=t,attention_mask=m.long(),output_hidden_states=True).hidden_states
        mm=m.clone(); mm[:,0]=False
        mean.append(torch.stack([(a*mm[...,None]).sum(1)/mm.sum(1,keepdim=True) for a in h])); n=m.sum(1)-1
        last.append(torch.stack([a[torch.arange(len(t)),n] for a in h]))
    return {'mean':torch.cat(mean,1).float().numpy(),'last':torch.cat(last,1).float().numpy()}
def r(X,Y): return predictivity(X,Y)
def grid(A,B): return predictivity_grid(A,B).predictivity.mean('fold').values
f=lambda x:' '.join(f'{v:.3f}' if v==v else '  –  ' for v in x)
caps=[c[0] for c in S.captions]
vf=vis(S.images); lf=lan(caps)
vc=vf['cls'][1:]
for lp in ('mean','last'):
    g=grid(vc,lf[lp]); h=grid(lf[lp],vc)
    print(f'V→L {lp} best {np.nanmax(g):.3f}; by lang layer',f(np.nanmax(g,0)),'| by vis',f(np.nanmax(g,1)))
    print(f'L→V {lp} best {np.nanmax(h):.3f}; by lang layer',f(np.nanmax(h,1)),'| by vis',f(np.nanmax(h,0)))
    if lp=='mean': bl=int(np.nanargmax(np.nanmax(g,0))); bv=int(np.nanargmax(np.nanmax(h,0))); bll=int(np.nanargmax(np.nanmax(h,1))); bvv=int(np.nanargmax(np.nanmax(g,1)))
g=grid(vf['mean'],lf['mean']); print('vision mean-pooled: V→L',f(np.nanmax(g,1)))
Y=lf['mean'][bl]; 
from seeing_words.models.baselines import image_baselines
ib=image_baselines(S) if 0 else None
px=pixels(S.images).values[0]; hg=oriented_gradients(S.images).values[0]; rc=random_convolutions(S.images).values[0]
allb=np.hstack([(b-b.mean(0))/(b.std(0)+1e-9)/np.sqrt(b.shape[1]) for b in (px,hg,rc)])
print('baselines → best lang layer: pixels %.3f hog %.3f conv %.3f all %.3f'%(r(px,Y),r(hg,Y),r(rc,Y),r(allb,Y)))
cap1=[[c[0]] for c in S.captions]
import inspect
bw=bag_of_words(caps)
bwv=np.asarray(bw.values[0] if bw.ndim==3 else bw.values)
Z=vc[bv]
print('best L→V %.3f at lang %d vis %d; bag of words one caption %.3f'%(r(lf['mean'][bll],Z),bll,bv+1,r(bwv,Z)))
l5=np.mean([lan([c[k] for c in S.captions])['mean'] for k in range(5)],0); bw5=bag_of_words([t for c in S.captions for t in c]).values[0].reshape(N,5,-1).mean(1)
print('five captions: L→V',f([r(x,Z) for x in l5]),'bag5 %.3f'%r(bw5,Z), ' V→L5 %.3f'%max(r(vc[bvv],x) for x in l5[1:]))
F1=fact_indicators(S.facts); 
oracle=np.hstack(list(F1.values())).astype(float); print('oracle facts→lang %.3f  →vision %.3f'%(r(oracle,Y),r(oracle,Z)), {k:v.shape[1] for k,v in F1.items()})
from seeing_words.studies.perturbations import fact_indicators as fi
print('facts from vision last:',{k:round(r(vc[-1],v.astype(float)),3) for k,v in F1.items()})
print('facts from lang best  :',{k:round(r(Y,v.astype(float)),3) for k,v in F1.items()}, 'bag', {k:round(r(bwv,v.astype(float)),3) for k,v in F1.items()})
if full:
    rng=np.random.default_rng(0)
    sc=[' '.join(rng.permutation(c.split())) for c in caps]; ls=lan(sc)['mean']
    print('scrambled: V→L %.3f L→V %.3f (intact %.3f %.3f)'%(max(r(vc[bvv],x) for x in ls[1:]),max(r(x,Z) for x in ls),r(vc[bvv],Y),r(lf['mean'][bll],Z)))
    base=r(vc[bvv],Y)
    for name,kw in (('greyscale',{}),('rotation',{'angle':20}),('blur',{}),('flip',{}),('rotation',{}),('stuff-only',{}),('stuff-only, blurred',{}),('thing-only',{})):
        try:
            q=perturb(S,name,**kw) if name!='rotation' or kw else perturb(S,name)
            w=vis(q.images)['cls'][1:]; print(f'{name} {kw}: V→L {r(w[bvv],Y):.3f} ({r(w[bvv],Y)/base:.2f})  thing r {r(w[-1],F1["thing name"].astype(float)):.3f}')
        except Exception as e: print(name,repr(e)[:200])
# retrieval of 200: predict language from vision out of fold
from seeing_words.measures.predictivity import out_of_fold
P=np.asarray(out_of_fold(vc[bvv],Y,folds=make_folds(N)))
Ys=(Y-Y.mean(0))/Y.std(0); P=(P-P.mean(0))/(P.std(0)+1e-9)
hit=[]
for k in range(0,N-199,200):
    c=F.normalize(torch.tensor(P[k:k+200]).double(),dim=1)@F.normalize(torch.tensor(Ys[k:k+200]).double(),dim=1).T
    hit.append((c.argsort(1,descending=True).argsort(1).diagonal()<10).double().mean().item())
print('retrieval caption by image, first 10 of 200: %.2f'%np.mean(hit))
