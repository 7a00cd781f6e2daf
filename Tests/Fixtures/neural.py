"""Makes neural.json: inputs and onnxruntime's outputs for NeuralCasesTests.swift. Needs onnx, onnxruntime, numpy."""
import json, os
import numpy as np, base64, onnx, itertools, warnings
from onnx import helper as h
import onnxruntime as ort
from onnx import TensorProto as T

def run(op,attrs,ins,opset=17,nout=1,domain=''):
    g=h.make_graph([h.make_node(op,['i%d'%i if a is not None else '' for i,a in enumerate(ins)],['o%d'%i for i in range(nout)],domain=domain,**attrs)],'g',[h.make_tensor_value_info('i%d'%i,h.np_dtype_to_tensor_dtype(a.dtype),a.shape) for i,a in enumerate(ins) if a is not None],[h.make_value_info('o%d'%i,None) if 0 else onnx.ValueInfoProto(name='o%d'%i) for i in range(nout)])
    m=h.make_model(g,opset_imports=[h.make_opsetid('',opset)]+([h.make_opsetid(domain,1)] if domain else []),ir_version=8)
    o=ort.SessionOptions(); o.graph_optimization_level=ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(m.SerializeToString(),o).run(None,{'i%d'%i:a for i,a in enumerate(ins) if a is not None})
rng=np.random.default_rng(7)
f=lambda *s: rng.standard_normal(s).astype(np.float32)
def enc(a):
    if a is None: return None
    a=np.asarray(a); return dict(type=int(h.np_dtype_to_tensor_dtype(a.dtype)),shape=list(a.shape),data=base64.b64encode(np.ascontiguousarray(a).tobytes()).decode())
def attr(k,v):
    if isinstance(v,bool): v=int(v)
    if isinstance(v,int): return dict(name=k,kind='int',ints=[v])
    if isinstance(v,float): return dict(name=k,kind='float',floats=[v])
    if isinstance(v,str): return dict(name=k,kind='string',strings=[v])
    if isinstance(v[0],int): return dict(name=k,kind='ints',ints=v)
    if isinstance(v[0],float): return dict(name=k,kind='floats',floats=v)
    return dict(name=k,kind='strings',strings=v)
out=[]
def case(name,op,attrs,ins,opset=17,nout=1,domain='',tol=1e-5,keep=None):
    try: r=run(op,attrs,ins,opset,nout,domain)
    except Exception as e: print('ORT refuses',name,str(e)[:150]); return
    if keep: r=[a if i in keep else None for i,a in enumerate(r)]
    out.append(dict(name=name,op=op,domain=domain,opset=(1 if domain else opset),attrs=[attr(k,v) for k,v in attrs.items()],inputs=[enc(a) for a in ins],outputs=[enc(a) for a in r],rtol=tol,atol=tol))
S,B,I,H=4,3,5,6
for op,G in (('LSTM',4),('GRU',3),('RNN',1)):
    for d in ('forward','reverse','bidirectional'):
        D=2 if d=='bidirectional' else 1
        X=f(S,B,I); W=f(D,G*H,I); R=f(D,G*H,H); Bi=f(D,2*G*H); lens=np.array([4,2,3],np.int32); h0=f(D,B,H); c0=f(D,B,H); P=f(D,3*H)
        n=3 if op=='LSTM' else 2
        base=dict(hidden_size=H,direction=d)
        case(f'{op}_{d}_plain',op,base,[X,W,R],nout=n)
        full=[X,W,R,Bi,lens,h0]+([c0] if op=='LSTM' else [])
        case(f'{op}_{d}_full',op,base,full,nout=n)
        case(f'{op}_{d}_clip',op,dict(base,clip=0.7),full,nout=n)
        if op=='LSTM':
            case(f'{op}_{d}_peep',op,base,full+[P],nout=n)
            case(f'{op}_{d}_coupled',op,dict(base,input_forget=1),full,nout=n)
            case(f'{op}_{d}_acts',op,dict(base,activations=['HardSigmoid','Softsign','Relu']*D,activation_alpha=[0.25]*D,activation_beta=[0.4]*D),full,nout=n)
        if op=='GRU':
            case(f'{op}_{d}_lbr',op,dict(base,linear_before_reset=1),full,nout=n)
            case(f'{op}_{d}_acts',op,dict(base,activations=['HardSigmoid','LeakyRelu']*D,activation_alpha=[0.25,0.1]*D,activation_beta=[0.4]*D),full,nout=n)
        if op=='RNN':
            case(f'{op}_{d}_acts',op,dict(base,activations=['Affine']*D,activation_alpha=[0.5]*D,activation_beta=[0.1]*D),full,nout=n)
X=f(S,1,I)
case('LSTM_one',"LSTM",dict(hidden_size=H),[X,f(1,4*H,I),f(1,4*H,H),f(1,8*H)],nout=3)
# pools
x=f(2,3,7,8)
for k,s,p,d,c in [([3,3],[2,2],[0,0,0,0],None,1),([3,2],[2,3],[1,1,1,0],None,1),([2,2],[1,1],[1,0,1,0],[2,2],0),([3,3],[3,3],[1,1,1,1],None,1),([1,1],[2,2],[0,0,0,0],None,0),([5,5],[4,4],[2,2,2,2],None,1)]:
    a=dict(kernel_shape=k,strides=s,pads=p,ceil_mode=c)
    if d: a['dilations']=d
    case(f'maxpool_{k}{s}{p}{c}','MaxPool',a,[x],nout=2)
    case(f'maxpool_cm_{k}{s}{p}{c}','MaxPool',dict(a,storage_order=1),[x],nout=2)
    case(f'maxpool8_{k}{s}{p}{c}','MaxPool',a,[(x*50).astype(np.int8)])
    for inc in (0,1):
        case(f'avgpool_{k}{s}{p}{c}_{inc}','AveragePool',dict(a,count_include_pad=inc),[x],opset=19)
    case(f'lppool_{k}{s}{p}{c}','LpPool',dict({q:v for q,v in a.items()},p=3),[x],opset=18)
for ap in ('SAME_UPPER','SAME_LOWER','VALID'):
    case('maxpool_'+ap,'MaxPool',dict(kernel_shape=[3,4],strides=[2,2],auto_pad=ap),[x])
    case('avgpool_'+ap,'AveragePool',dict(kernel_shape=[3,4],strides=[2,2],auto_pad=ap),[x],opset=11)
case('maxpool1','MaxPool',dict(kernel_shape=[3]),[f(2,3,9)],nout=2); case('avgpool3','AveragePool',dict(kernel_shape=[2,2,2],pads=[1]*6,strides=[2,1,2]),[f(1,2,4,5,4)])
case('gmax','GlobalMaxPool',{},[x]); case('gavg','GlobalAveragePool',{},[f(2,3,40)]); case('glp','GlobalLpPool',dict(p=3),[x])
# norm
case('bn','BatchNormalization',{},[f(2,5,3,4),f(5),f(5),f(5),abs(f(5))]); case('bn2','BatchNormalization',dict(epsilon=1e-2),[f(6,5),f(5),f(5),f(5),abs(f(5))],opset=9)
case('bntrain','BatchNormalization',dict(training_mode=1,momentum=0.7),[f(4,5,3,4),f(5),f(5),f(5),abs(f(5))],nout=3)
for ax in (0,1,-1,-2):
    x=f(3,4,5)
    for sm in ('Softmax','LogSoftmax'):
        for o in (9,11,13): 
            if ax>=0 or o>=11: case(f'{sm}{ax}_{o}',sm,dict(axis=ax),[x],opset=o)
    case(f'ln{ax}','LayerNormalization',dict(axis=ax),[x,f(*x.shape[ax:]),f(*x.shape[ax:])],nout=3)
case('lnscalar','LayerNormalization',{},[f(3,4,5),f(1),f(4,5)])
case('lnbig','LayerNormalization',dict(epsilon=1e-12),[f(7,130),f(130),f(130)],nout=1)
case('in','InstanceNormalization',{},[f(2,3,4,5),f(3),f(3)])
case('lp1','LpNormalization',dict(p=1,axis=1),[f(2,3,4)]); case('mvn','MeanVarianceNormalization',dict(axes=[0,2]),[f(3,4,5)],tol=1e-4)
N=8
case('skipln','SkipLayerNormalization',dict(epsilon=1e-5),[f(2,5,N),f(2,5,N),f(N),f(N),f(N)],nout=4,domain='com.microsoft',keep=[0,3])
case('skipln2','SkipLayerNormalization',dict(epsilon=1e-5),[f(2,5,N),f(5,N),f(N)],nout=1,domain='com.microsoft')
case('skipsln','SkipSimplifiedLayerNormalization',dict(epsilon=1e-5),[f(2,5,N),f(2,5,N),f(N),f(N)],nout=4,domain='com.microsoft',keep=[0,3])
case('sln','SimplifiedLayerNormalization',dict(epsilon=1e-5,axis=-1),[f(2,5,N),f(N)])
ids=rng.integers(0,9,(2,5)).astype(np.int32)
case('embed','EmbedLayerNormalization',dict(epsilon=1e-5),[ids,rng.integers(0,2,(2,5)).astype(np.int32),f(9,N),f(7,N),f(2,N),f(N),f(N),np.array([[1,1,1,0,0],[1,1,1,1,1]],np.int32)],nout=2,domain='com.microsoft')
case('embed2','EmbedLayerNormalization',{},[ids,None,f(9,N),f(7,N),None,f(N),f(N)],nout=2,domain='com.microsoft')
case('embed3','EmbedLayerNormalization',dict(mask_index_type=0),[ids,None,f(9,N),f(7,N),None,f(N),f(N),None,rng.integers(0,7,(2,5)).astype(np.int32)],nout=3,domain='com.microsoft',keep=[0,2])
# attention (contrib)
Bt,Sq,Hd=2,5,8
X=f(Bt,Sq,Hd); W=f(Hd,3*Hd)/3; bi=f(3*Hd)
ms='com.microsoft'
case('att','Attention',dict(num_heads=2),[X,W,bi],nout=1,domain=ms)
case('att_uni','Attention',dict(num_heads=2,unidirectional=1),[X,W,bi],nout=1,domain=ms)
case('att_scale','Attention',dict(num_heads=2,scale=0.3),[X,W,bi],nout=1,domain=ms)
case('att_mask1','Attention',dict(num_heads=2),[X,W,bi,np.array([3,5],np.int32)],domain=ms)
case('att_mask1b','Attention',dict(num_heads=2),[X,W,bi,np.array([3,5,1,0],np.int32)],domain=ms)
case('att_mask2','Attention',dict(num_heads=2),[X,W,bi,np.array([[1,1,1,0,0],[1,0,1,1,1]],np.int32)],domain=ms)
case('att_mask3','Attention',dict(num_heads=2),[X,W,bi,rng.integers(0,2,(2,5,5)).astype(np.int32)|np.eye(5,dtype=np.int32)],domain=ms)
case('att_qkv','Attention',dict(num_heads=2,qkv_hidden_sizes=[4,4,8]),[X,f(Hd,16),f(16)],domain=ms)
past=f(2,Bt,2,3,4)
case('att_past','Attention',dict(num_heads=2,unidirectional=1),[X,W,bi,None,past],nout=2,domain=ms)
case('att_bias','Attention',dict(num_heads=2),[X,W,bi,None,None,f(1,2,5,5)],nout=1,domain=ms)
q,k,v=f(Bt,4,Hd),f(Bt,6,Hd),f(Bt,6,Hd)
case('mha','MultiHeadAttention',dict(num_heads=2),[q,k,v],domain=ms)
case('mha_bias','MultiHeadAttention',dict(num_heads=2,scale=0.4),[q,k,v,f(3*Hd)],domain=ms)
case('mha_mask','MultiHeadAttention',dict(num_heads=2),[q,k,v,None,np.array([[1,1,1,1,0,0],[1,1,1,1,1,1]],np.int32)],domain=ms)
case('mha_attbias','MultiHeadAttention',dict(num_heads=2),[q,k,v,None,None,f(1,2,4,6)],domain=ms)
case('mha_past','MultiHeadAttention',dict(num_heads=2,unidirectional=1),[q,f(Bt,4,Hd),f(Bt,4,Hd),None,None,None,f(Bt,2,3,4),f(Bt,2,3,4)],nout=3,domain=ms)
case('mha_kv4','MultiHeadAttention',dict(num_heads=2),[q,f(Bt,2,6,4),f(Bt,2,6,4)],domain=ms)
cos,sin=f(10,2),f(10,2)
for il in (0,1):
    case(f'rot{il}','RotaryEmbedding',dict(interleaved=il),[f(2,3,6,4),np.array([2],np.int64),cos,sin],domain=ms)
    case(f'rot3_{il}','RotaryEmbedding',dict(interleaved=il,num_heads=3),[f(2,5,12),rng.integers(0,10,(2,5)),cos,sin],domain=ms)
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'neural.json'), 'w') as fh: json.dump(out, fh)
print(len(out), 'cases')
