import sys, time, torch, numpy as np, argparse
from torch import nn
from seeing_words.models.train import *
from seeing_words.models.train import _two_moments,_step_generator,_normalise
from seeing_words.models.weights import drawing
from seeing_words.data.microworld.scene import *
from seeing_words.data.microworld.stimulus_set import microworld_stimuli
from seeing_words.data.perturb import perturb
from seeing_words.measures.predictivity import predictivity
from seeing_words.studies.perturbations import fact_indicators
import torch.nn.functional as F
from transformers import Dinov2Model
p=argparse.ArgumentParser()
p.add_argument('--area',type=float,default=.4); p.add_argument('--grey',type=float,default=.4); p.add_argument('--turn',type=float,default=.5); p.add_argument('--jit',type=float,default=.3); p.add_argument('--name',default='x'); p.add_argument('--lr',type=float,default=1.5e-3); p.add_argument('--seconds',type=float,default=400); p.add_argument('--clips',default='/work/train/small.npy'); p.add_argument('--first',default='')
p.add_argument('--patch',type=int,default=8); p.add_argument('--view',type=int,default=40); p.add_argument('--tau',type=float,default=.15); p.add_argument('--width',type=int,default=128); p.add_argument('--depth',type=int,default=8); p.add_argument('--mlp',type=int,default=4); p.add_argument('--size',type=int,default=48)
p.add_argument('--n',type=int,default=16); p.add_argument('--k',type=int,default=5); p.add_argument('--init',type=float,default=.08); p.add_argument('--ls',type=float,default=.3); p.add_argument('--pool',default='cls'); p.add_argument('--heads',type=int,default=4); p.add_argument('--save',default='')
a=p.parse_args(); GR=a.grey; torch.set_num_threads(1)
X=torch.from_numpy(np.load(a.clips)); X1=torch.from_numpy(np.load(a.first)) if a.first else None
with drawing(0):
    net=Dinov2Model(vision_config(patch_size=a.patch,initializer_range=a.init,layerscale_value=a.ls,hidden_size=a.width,num_hidden_layers=a.depth,mlp_ratio=a.mlp,image_size=a.size,num_attention_heads=a.heads)).train(); w=a.width*(2 if a.pool=='both' else 1); head=nn.Sequential(nn.Linear(w,512),nn.BatchNorm1d(512),nn.ReLU(),nn.Linear(512,128))
m=nn.ModuleDict({'network':net,'head':head}); o=torch.optim.AdamW(m.parameters(),lr=a.lr,weight_decay=.05)

import inspect, seeing_words.models.train as T
src=inspect.getsource(T.random_view).replace('uniform(0.4, 1)','uniform(%r, 1)'%a.area).replace('< 0.4','< %r'%a.grey).replace('< 0.5)','< %r)'%a.turn).replace('uniform(0.7, 1.3','uniform(1-%r, 1+%r'%(a.jit,a.jit)).replace('def random_view','def rv')
exec(src,T.__dict__); view=lambda im,g: T.rv(im,generator=g,size=a.view)
t0=time.process_time(); acc=[]; s=0
while True:
    t=(time.process_time()-t0)/a.seconds
    if t>=1: break
    g=_step_generator(0,s); im=_two_moments(X1 if a.first and t<.5 else X,a.n,a.k,g); v=_normalise(view(im,g))
    h=net(v).last_hidden_state; h=h[:,0] if a.pool=='cls' else h[:,1:].mean(1) if a.pool=='mean' else torch.cat([h[:,0],h[:,1:].mean(1)],1)
    loss,ac=contrastive_loss(head(h).float(),temperature=a.tau); acc.append(ac)
    for gr in o.param_groups: gr['lr']=a.lr*min(1,(s+1)/50)*(.01+.99*.5*(1+np.cos(np.pi*t)))
    o.zero_grad(); loss.backward(); nn.utils.clip_grad_norm_(list(m.parameters()),1.); o.step(); s+=1
    if s%50==0: print(a.name,s,round(np.mean(acc[-50:]),3),round(time.process_time()-t0),flush=True)
net.eval()
if a.save: net.save_pretrained(a.save)
S=microworld_stimuli(500,seeds=CHOOSING); Q=perturb(S,'stuff-only'); FI=fact_indicators(S.facts)
@torch.no_grad()
def f(im):
    x=torch.from_numpy(np.stack(list(im))).permute(0,3,1,2)/255; x=F.interpolate(x,size=(a.size,a.size),mode='bilinear',antialias=True,align_corners=False)
    H=[net(b).last_hidden_state for b in ((x-.5)/.25).split(100)]; H=torch.cat(H); return H[:,0].numpy(),H[:,1:].mean(1).numpy()
from seeing_words.models.baselines import *
for nm,im in (('intact',S.images),('stuff',Q.images)):
    for pool,x in zip(('cls','mean'),f(im)):
        print('RESULT',a.name,nm,pool,'steps',s,{k:round(predictivity(x,FI[k].astype(float)),3) for k in ('place','time','weather','thing name','thing colour')},flush=True)
if a.name=='base':
    px=pixels(S.images).values[0]; hg=oriented_gradients(S.images).values[0]; rc=random_convolutions(S.images).values[0]
    al=np.hstack([(b-b.mean(0))/(b.std(0)+1e-9)/np.sqrt(b.shape[1]) for b in (px,hg,rc)])
    print('RESULT trivial',{k:round(predictivity(al,FI[k].astype(float)),3) for k in ('place','time','weather','thing name','thing colour')})
