// A Llama that reads one caption, in plain JavaScript: tokens, attention, the mean over the caption's tokens.
// tests/test_explorer.py compares it with torch.
(() => {
  "use strict";

  // Half-precision numbers, all 65 536 of them
  let halves;
  function halfTable() {
    if (halves) return halves;
    halves = new Float32Array(65536);
    for (let bits = 0; bits < 65536; bits++) {
      const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
      if (exponent === 31) halves[bits] = fraction ? NaN : sign * Infinity;
      else if (exponent === 0) halves[bits] = sign * fraction * 2 ** -24;
      else halves[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
    }
    return halves;
  }

  function readHalves(buffer, start = 0, end = buffer.byteLength) {
    const table = halfTable(), view = new DataView(buffer, start, end - start);
    const numbers = new Float32Array((end - start) / 2);
    for (let i = 0; i < numbers.length; i++) numbers[i] = table[view.getUint16(2 * i, true)];
    return numbers;
  }

  // A safetensors file: the length of a JSON head, the head, the numbers.
  function readTensors(buffer) {
    const length = Number(new DataView(buffer).getBigUint64(0, true));
    const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
    const tensors = {};
    for (const [name, { dtype, data_offsets: [start, end] }] of Object.entries(head)) {
      if (name === "__metadata__") continue;
      if (dtype !== "F16") throw new Error(`${name} has numbers of type ${dtype}, not F16`);
      tensors[name] = readHalves(buffer, 8 + length + start, 8 + length + end);
    }
    return tensors;
  }

  // Byte-pair encoding: within each word, the pair that was learned first is joined first.
  class Tokenizer {
    constructor({ vocabulary, merges, begin, unknown }) {
      this.ids = new Map(vocabulary.map((piece, id) => [piece, id]));
      this.ranks = new Map(merges.map(([a, b], rank) => [`${a} ${b}`, rank]));
      Object.assign(this, { begin, unknown });
    }

    encode(text) {
      const words = `▁${text.replaceAll(" ", "▁")}`.match(/▁[^▁]*/g);
      return [this.begin, ...words.flatMap((word) => this.pieces(word)).map((piece) => this.ids.get(piece) ?? this.unknown)];
    }

    pieces(word) {
      const parts = [...word];
      for (;;) {
        let best = Infinity, at = -1;
        for (let i = 0; i + 1 < parts.length; i++) {
          const rank = this.ranks.get(`${parts[i]} ${parts[i + 1]}`) ?? Infinity;
          if (rank < best) [best, at] = [rank, i];
        }
        if (at < 0) return parts;
        parts.splice(at, 2, parts[at] + parts[at + 1]);
      }
    }
  }

  function times(weights, x) {  // weights (out, in) times x (in)
    const n = x.length, out = new Float32Array(weights.length / n);
    for (let row = 0, k = 0; row < out.length; row++) {
      let sum = 0;
      for (let i = 0; i < n; i++, k++) sum += weights[k] * x[i];
      out[row] = sum;
    }
    return out;
  }

  function normalised(x, weights, epsilon) {  // by the root mean square
    let squares = 0;
    for (const value of x) squares += value * value;
    const scale = 1 / Math.sqrt(squares / x.length + epsilon);
    return x.map((value, i) => value * scale * weights[i]);
  }

  function turned(x, position, { size, theta }) {  // rotary positions: each head's halves are turned against each other
    const out = new Float32Array(x.length), half = size / 2;
    for (let head = 0; head < x.length; head += size) {
      for (let i = 0; i < half; i++) {
        const angle = position * theta ** (-i / half), cos = Math.cos(angle), sin = Math.sin(angle);
        const a = x[head + i], b = x[head + half + i];
        out[head + i] = a * cos - b * sin;
        out[head + half + i] = b * cos + a * sin;
      }
    }
    return out;
  }

  // What position t takes from itself and those before it.
  function attended(t, queries, keys, values, size) {
    const out = new Float32Array(queries[t].length);
    for (let head = 0; head < out.length; head += size) {
      const scores = new Float32Array(t + 1);
      for (let s = 0; s <= t; s++) {
        let dot = 0;
        for (let i = head; i < head + size; i++) dot += queries[t][i] * keys[s][i];
        scores[s] = dot / Math.sqrt(size);
      }
      const largest = Math.max(...scores), shares = scores.map((score) => Math.exp(score - largest));
      const total = shares.reduce((sum, share) => sum + share, 0);
      for (let s = 0; s <= t; s++) {
        for (let i = head; i < head + size; i++) out[i] += (shares[s] / total) * values[s][i];
      }
    }
    return out;
  }

  class Llama {
    constructor(buffer, config) {
      this.tensors = readTensors(buffer);
      this.config = config;
      this.tokenizer = new Tokenizer(config);
    }

    // The mean over the caption's tokens of what the last block gives that the file holds.
    read(text) {
      const { tensors, config } = this, tokens = this.tokenizer.encode(text), embeddings = tensors["model.embed_tokens.weight"];
      const width = tensors["model.layers.0.input_layernorm.weight"].length;
      let states = tokens.map((id) => embeddings.slice(id * width, (id + 1) * width));
      for (let layer = 0; `model.layers.${layer}.input_layernorm.weight` in tensors; layer++) {
        const of = (name) => tensors[`model.layers.${layer}.${name}.weight`];
        const before = states.map((x) => normalised(x, of("input_layernorm"), config.epsilon));
        const queries = before.map((x, t) => turned(times(of("self_attn.q_proj"), x), t, config));
        const keys = before.map((x, t) => turned(times(of("self_attn.k_proj"), x), t, config));
        const values = before.map((x) => times(of("self_attn.v_proj"), x));
        states = states.map((state, t) => {
          const taken = times(of("self_attn.o_proj"), attended(t, queries, keys, values, config.size));
          const x = state.map((value, i) => value + taken[i]);
          const inner = normalised(x, of("post_attention_layernorm"), config.epsilon);
          const gate = times(of("mlp.gate_proj"), inner), up = times(of("mlp.up_proj"), inner);
          const added = times(of("mlp.down_proj"), gate.map((g, i) => (g / (1 + Math.exp(-g))) * up[i]));
          return x.map((value, i) => value + added[i]);
        });
      }
      const mean = new Float32Array(width), own = states.slice(1);  // without the token that begins a caption
      for (const state of own) state.forEach((value, i) => { mean[i] += value / own.length; });
      return mean;
    }
  }

  window.TinyLlama = { Llama, Tokenizer, readHalves, times };
})();
