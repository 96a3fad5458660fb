import sys, time, torch, numpy as np, argparse
from seeing_words.models.train import *
from seeing_words.models.train import _block
from seeing_words.models.weights import drawing
from seeing_words.data.microworld.scene import *
from seeing_words.data.microworld.stimulus_set import microworld_stimuli
from seeing_words.measures.predictivity import predictivity
from seeing_words.studies.perturbations import fact_indicators
from transformers import LlamaForCausalLM
p=argparse.ArgumentParser(); p.add_argument('--name'); p.add_argument('--init',type=float,default=.02); p.add_argument('--lr',type=float,default=2e-3); p.add_argument('--caps',type=int,default=3); p.add_argument('--batch',type=int,default=32); p.add_argument('--seconds',type=float,default=300)
a=p.parse_args(); torch.set_num_threads(1)
with drawing(0): net=LlamaForCausalLM(language_config('llama',initializer_range=a.init)).train()
o=torch.optim.AdamW(net.parameters(),lr=a.lr,weight_decay=.05); t0=time.process_time(); s=0; L=[]
while (t:=(time.process_time()-t0)/a.seconds)<1:
    ids=_block(TRAINING[:40000],s//8,seed=0,batch_size=a.batch,n_captions=a.caps)[s%8]
    loss=next_token_loss(net,ids); L.append(loss.item())
    for g in o.param_groups: g['lr']=a.lr*min(1,(s+1)/50)*(.01+.99*.5*(1+np.cos(np.pi*t)))
    o.zero_grad(); loss.backward(); torch.nn.utils.clip_grad_norm_(net.parameters(),1.); o.step(); s+=1
    if s%50==0: print(a.name,s,round(np.mean(L[-50:]),3),round(time.process_time()-t0),flush=True)
net.eval(); S=microworld_stimuli(500,seeds=CHOOSING); FI=fact_indicators(S.facts); T=subword_tokenizer()
with torch.no_grad():
    H=[]
    for i in range(0,500,100):
        ids=[T.encode(c).ids for c in S.caption()[i:i+100]]; t=padded(ids); m=(t>0)
        h=net(input_ids=t,attention_mask=m.long(),output_hidden_states=True).hidden_states; m=m.clone(); m[:,0]=False
        H.append(torch.stack([(x*m[...,None]).sum(1)/m.sum(1,keepdim=True) for x in h]))
H=torch.cat(H,1).numpy()
for l in (4,6,8): print('RESULT',a.name,'steps',s,'layer',l,{k:round(predictivity(H[l],FI[k].astype(float)),3) for k in ('place','time','weather','thing name','thing colour')},flush=True)
rows=documents(CHOOSING[:64]); print('RESULT',a.name,'held-out',round(next_token_loss(net,padded(rows)).item(),3))
