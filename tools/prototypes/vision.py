import sys, time, math, json, numpy as np, torch, torch.nn.functional as F
from torch import nn
from transformers import Dinov2Config, Dinov2Model
import argparse
p=argparse.ArgumentParser(); p.add_argument('out'); p.add_argument('--steps',type=int,default=800); p.add_argument('--lr',type=float,default=1.5e-3)
p.add_argument('--size',type=int,default=48); p.add_argument('--patch',type=int,default=8); p.add_argument('--width',type=int,default=128); p.add_argument('--depth',type=int,default=8)
p.add_argument('--tau',type=float,default=.15); p.add_argument('--grey',type=float,default=.25); p.add_argument('--clips',type=int,default=16); p.add_argument('--per',type=int,default=10)
p.add_argument('--threads',type=int,default=1); p.add_argument('--seed',type=int,default=0); p.add_argument('--low',type=float,default=.4); p.add_argument('--budget',type=float,default=0)
a=p.parse_args()
torch.set_num_threads(a.threads); torch.manual_seed(a.seed)
X=torch.from_numpy(np.load('_runs/clips.npy',mmap_mode='r')[:])  # clip, scene, moment, h,w,3
net=Dinov2Model(Dinov2Config(hidden_size=a.width,num_hidden_layers=a.depth,num_attention_heads=4,image_size=a.size,patch_size=a.patch,layerscale_value=.1)).train()
head=nn.Sequential(nn.Linear(a.width,512),nn.BatchNorm1d(512),nn.ReLU(),nn.Linear(512,128))
params=[*net.parameters(),*head.parameters()]
opt=torch.optim.AdamW(params,lr=a.lr,weight_decay=.05)
def U(n,lo,hi,*s): return torch.rand(n,*s)*(hi-lo)+lo
def view(x):
    n=len(x)
    area,asp=U(n,a.low,1),torch.exp(U(n,-.2,.2)); w=(area*asp).sqrt().clamp(max=1); h=(area/asp).sqrt().clamp(max=1)
    ang=U(n,-20,20)*(torch.rand(n)<.5)*math.pi/180
    c,s=ang.cos(),ang.sin()
    th=torch.stack([torch.stack([w*c,-h*s,U(n,-1,1)*(1-w)],1),torch.stack([w*s,h*c,U(n,-1,1)*(1-h)],1)],1)
    v=F.grid_sample(x,F.affine_grid(th,[n,3,a.size,a.size],align_corners=False),align_corners=False,padding_mode='reflection')
    k=torch.rand(n)<.2
    v[k]=F.avg_pool2d(F.pad(v[k],(1,1,1,1),mode='reflect'),3,1)
    v=v*U(n,.7,1.3,1,1,1)*U(n,.88,1.12,3,1,1)
    m=v.mean((1,2,3),keepdim=True); v=(v-m)*U(n,.7,1.3,1,1,1)+m
    v=torch.where(U(n,0,1,1,1,1)<a.grey,v.mean(1,keepdim=True),v)
    return (v+torch.randn(v.shape)*U(n,0,.04,1,1,1)).clamp(0,1)
curve=[];t0=time.time()
for step in range(a.steps):
    r=min(1,(step+1)/50)*(.01+.99*.5*(1+math.cos(math.pi*step/a.steps)))
    for g in opt.param_groups: g['lr']=a.lr*r
    ci=torch.randperm(len(X))[:a.clips]
    pick=torch.stack([torch.randperm(X.shape[1])[:a.per] for _ in ci])
    b=torch.stack([X[c][k] for c,k in zip(ci,pick)]).flatten(0,1)  # scene, moment,...
    mm=torch.stack([torch.randperm(X.shape[2])[:2] for _ in range(len(b))])
    b=torch.stack([b[torch.arange(len(b)),mm[:,j]] for j in (0,1)]).flatten(0,1).permute(0,3,1,2)/255
    v=(view(b)-.5)/.25
    with torch.autocast('cpu',torch.bfloat16):
        z=head(net(v).last_hidden_state[:,0])
    z=F.normalize(z.float(),dim=1); n=len(z)//2
    sim=(z@z.T/a.tau).fill_diagonal_(-torch.inf); part=torch.cat([torch.arange(n)+n,torch.arange(n)])
    loss=F.cross_entropy(sim,part)
    opt.zero_grad(); loss.backward(); nn.utils.clip_grad_norm_(params,1.); opt.step()
    if step%20==0 or step==a.steps-1:
        acc=(sim.argmax(1)==part).float().mean().item(); curve.append((step,loss.item(),acc)); print(step,round(loss.item(),3),round(acc,3),round(time.time()-t0),flush=True)
net.eval().save_pretrained(a.out); json.dump(curve,open(a.out+'/curve.json','w'))
