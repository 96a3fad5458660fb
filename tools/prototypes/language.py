import sys, time, math, json, argparse, numpy as np, torch, torch.nn.functional as F
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, BloomConfig, BloomForCausalLM, PreTrainedTokenizerFast
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers, decoders
from seeing_words.data.microworld.scene import *
from seeing_words.data.microworld.caption import caption, text
p=argparse.ArgumentParser(); p.add_argument('out'); p.add_argument('--steps',type=int,default=1000); p.add_argument('--lr',type=float,default=2e-3)
p.add_argument('--vocab',type=int,default=256); p.add_argument('--arch',default='llama'); p.add_argument('--batch',type=int,default=64); p.add_argument('--caps',type=int,default=3)
p.add_argument('--threads',type=int,default=1); p.add_argument('--seed',type=int,default=0); p.add_argument('--scenes',type=int,default=40000); p.add_argument('--bf16',type=int,default=0)
a=p.parse_args(); torch.set_num_threads(a.threads); torch.manual_seed(a.seed)
def tok():
    t=Tokenizer(models.BPE(unk_token='<unk>')); t.pre_tokenizer=pre_tokenizers.Metaspace(); t.decoder=decoders.Metaspace()
    tr=trainers.BpeTrainer(vocab_size=a.vocab,special_tokens=['<pad>','<s>','</s>','<unk>'],show_progress=False)
    t.train_from_iterator((text(caption(sample_scene(s),seed=900)) for s in TRAINING[:5000]),tr)
    t.post_processor=processors.TemplateProcessing(single='<s> $A </s>',special_tokens=[('<s>',1),('</s>',2)])
    return t
T=tok(); print(T.get_vocab_size(), T.encode('not a horse but two red cows on the beach , no boats in sight').tokens)
def docs(seeds,epoch):
    caps=[[text(caption(sample_scene(s),seed=1000+epoch*a.caps+c)) for c in range(a.caps)] for s in seeds]
    enc=T.encode_batch([c for d in caps for c in d]); it=iter(enc); rows=[]
    for d in caps: rows.append([1]+[t for _ in d for t in next(it).ids[1:]])
    return rows
def pad(rows):
    w=max(map(len,rows)); return torch.tensor([r+[0]*(w-len(r)) for r in rows])
def batches():
    g=np.random.default_rng(a.seed); e=0
    while True:
        o=g.permutation(a.scenes)
        for i in range(0,len(o)-8*a.batch+1,8*a.batch):
            rows=docs([TRAINING[int(j)] for j in o[i:i+8*a.batch]],e); rows.sort(key=len)
            for k in g.permutation(8): yield pad(rows[k*a.batch:(k+1)*a.batch])
        e+=1
size=dict(vocab_size=T.get_vocab_size(),hidden_size=128,bos_token_id=1,eos_token_id=2,pad_token_id=0,tie_word_embeddings=True)
net=(LlamaForCausalLM(LlamaConfig(num_hidden_layers=8,num_attention_heads=4,intermediate_size=344,max_position_embeddings=512,**size)) if a.arch=='llama' else BloomForCausalLM(BloomConfig(n_layer=8,n_head=4,**size))).train()
opt=torch.optim.AdamW(net.parameters(),lr=a.lr,weight_decay=.05); B=batches(); t0=time.time(); curve=[]; tk=0
for step in range(a.steps):
    r=min(1,(step+1)/50)*(.01+.99*.5*(1+math.cos(math.pi*step/a.steps)))
    for g in opt.param_groups: g['lr']=a.lr*r
    ids=next(B); tk+=ids.numel()
    with torch.autocast('cpu',torch.bfloat16,enabled=bool(a.bf16)):
        lo=net(input_ids=ids,attention_mask=(ids!=0).long()).logits
    loss=F.cross_entropy(lo[:,:-1].flatten(0,1).float(),ids[:,1:].flatten(),ignore_index=0)
    opt.zero_grad(); loss.backward(); nn.utils.clip_grad_norm_(net.parameters(),1.); opt.step()
    if step%20==0 or step==a.steps-1: curve.append((step,loss.item())); print(step,round(loss.item(),3),round(tk/(step+1)),round(time.time()-t0),flush=True)
net.eval().save_pretrained(a.out); T.save(a.out+'/tokenizer.json'); json.dump(curve,open(a.out+'/curve.json','w'))
