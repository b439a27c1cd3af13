// kwspot in a browser: the same .onnx file as in Python, the front end in JavaScript, no server.
//
//   samples -> blocks -> log-mel -> onnxruntime-web -> moving average -> threshold -> detection
//   any n      80 ms     8 x 40     2 x posterior
//
// As KeywordDetector(model, vad="off", verify=False): there is no gate and no verifier. Scores differ
// from Python's by less than 1e-4, for sums are taken in another order.

const INT16_SCALE = 32768; // Kaldi's filter banks are defined on samples in the int16 range

export class KeywordDetector {
  // `ort` is onnxruntime-web; `threshold` replaces the model's own choice by `sensitivity`.
  static async load(url, ort, { sensitivity = "medium", threshold = null } = {}) {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`cannot load ${url}: ${answer.status} ${answer.statusText}`);
    const file = new Uint8Array(await answer.arrayBuffer());
    const info = modelInfo(file);
    const session = await ort.InferenceSession.create(file, { executionProviders: ["wasm"] });
    return new KeywordDetector(session, ort, info, { sensitivity, threshold });
  }

  constructor(session, ort, info, { sensitivity, threshold }) {
    Object.assign(this, { session, ort, info });
    const { front_end: front, decision } = info;
    this.logMel = new LogMel(front);
    this.lead = front.window - front.hop;
    this.step = info.frames_per_step * front.hop;
    this.outputSamples = this.step / info.outputs_per_step;
    this.triggers = info.keywords.map((keyword) => ({
      threshold: threshold ?? keyword.operating_points[sensitivity].threshold,
      release: decision.release,
      refractory: Math.round(decision.refractory * front.sample_rate),
    }));
    this.reset();
  }

  // Start a new stream.
  reset() {
    const { ort, info } = this;
    this.block = new Float32Array(this.lead + this.step); // overlap, then new samples
    this.filled = this.lead;
    this.time = 0; // samples in the blocks that were run
    this.states = Object.fromEntries(info.states.map(({ input, shape }) => {
      const size = shape.reduce((product, length) => product * length, 1);
      return [input, new ort.Tensor("float32", new Float32Array(size), shape)];
    }));
    this.past = Array(info.decision.smoothing).fill(info.keywords.map(() => 0));
    for (const trigger of this.triggers) Object.assign(trigger, { armed: true, quietUntil: 0 });
  }

  // Hear the next samples, a Float32Array at 16 kHz in [-1, 1]; return the detections in them.
  // Wait for one call before the next. With `scores`, every smoothed score is appended to it.
  async process(samples, scores = []) {
    const hits = [];
    for (let at = 0; at < samples.length;) {
      const count = Math.min(samples.length - at, this.block.length - this.filled);
      this.block.set(samples.subarray(at, at + count), this.filled);
      this.filled += count;
      at += count;
      if (this.filled === this.block.length) {
        const smoothed = await this.#run();
        scores.push(...smoothed);
        hits.push(...this.#decide(smoothed));
        this.time += this.step;
        this.block.copyWithin(0, this.step);
        this.filled = this.lead;
      }
    }
    return hits;
  }

  async #run() {
    const { ort, info } = this;
    const shape = [info.frames_per_step, info.front_end.mels];
    const features = new ort.Tensor("float32", this.logMel.of(this.block), shape);
    const results = await this.session.run({ features, ...this.states });
    for (const { input, output } of info.states) this.states[input] = results[output];
    const keywords = info.keywords.length;
    const smoothed = [];
    for (let at = 0; at < results.posteriors.data.length; at += keywords) {
      this.past = [...this.past.slice(1), [...results.posteriors.data.slice(at, at + keywords)]];
      smoothed.push(info.keywords.map((_, k) =>
        this.past.reduce((sum, output) => sum + output[k], 0) / this.past.length));
    }
    return smoothed;
  }

  #decide(smoothed) {
    const { info } = this, rate = info.front_end.sample_rate, hits = [];
    smoothed.forEach((scores, i) => {
      const time = this.time + (i + 1) * this.outputSamples;
      scores.forEach((score, k) => {
        const trigger = this.triggers[k], keyword = info.keywords[k], end = time / rate;
        if (score < trigger.release * trigger.threshold) trigger.armed = true;
        if (score < trigger.threshold || !trigger.armed || time < trigger.quietUntil) return;
        trigger.armed = false;
        trigger.quietUntil = time + trigger.refractory;
        hits.push({ keyword: keyword.label, score, start: Math.max(0, end - keyword.seconds), end });
      });
    });
    return hits;
  }
}

// Log-mel filter banks as kwspot/features.py computes them, in double precision.
export class LogMel {
  constructor(front) {
    this.front = front;
    this.window = Float64Array.from({ length: front.window }, (_, n) =>
      INT16_SCALE * (0.5 - 0.5 * Math.cos(2 * Math.PI * n / (front.window - 1))) ** 0.85);
    this.filters = melFilters(front);
    this.real = new Float64Array(front.fft);
    this.imag = new Float64Array(front.fft);
  }

  // Samples -> every whole frame's bands, one frame after the other.
  of(samples) {
    const { window, hop, fft, mels, preemphasis, floor } = this.front;
    const frames = 1 + Math.floor((samples.length - window) / hop);
    const features = new Float32Array(frames * mels);
    for (let t = 0; t < frames; t++) {
      const frame = samples.subarray(t * hop, t * hop + window);
      const mean = frame.reduce((sum, x) => sum + x, 0) / window;
      this.real.fill(0);
      this.imag.fill(0);
      for (let n = 0; n < window; n++) {
        const previous = frame[Math.max(n - 1, 0)] - mean;
        this.real[n] = (frame[n] - mean - preemphasis * previous) * this.window[n];
      }
      transform(this.real, this.imag);
      for (let m = 0; m < mels; m++) {
        const { first, weights } = this.filters[m];
        let energy = 0;
        weights.forEach((weight, i) => {
          energy += weight * (this.real[first + i] ** 2 + this.imag[first + i] ** 2);
        });
        features[t * mels + m] = Math.max(0, Math.log(energy) - floor);
      }
    }
    return features;
  }
}

// Triangles on Kaldi's mel scale: for each band, the first bin and the weights from there on.
function melFilters({ sample_rate: rate, fft, mels, low_hz: low, high_hz: high }) {
  const mel = (hz) => 1127 * Math.log1p(hz / 700);
  const edge = (i) => mel(low) + (mel(high) - mel(low)) * i / (mels + 1);
  return Array.from({ length: mels }, (_, m) => {
    const [left, centre, right] = [edge(m), edge(m + 1), edge(m + 2)];
    const all = Array.from({ length: fft / 2 }, (_, bin) => { // Kaldi leaves the Nyquist bin out
      const at = mel(bin * rate / fft);
      return Math.max(0, Math.min((at - left) / (centre - left), (right - at) / (right - centre)));
    });
    const first = all.findIndex((weight) => weight > 0);
    const last = all.findLastIndex((weight) => weight > 0);
    return { first: Math.max(first, 0), weights: first < 0 ? [] : all.slice(first, last + 1) };
  });
}

// Cooley and Tukey's transform in place; the length is a power of two.
function transform(real, imag) {
  const size = real.length;
  for (let i = 1, j = 0; i < size; i++) { // the order of reversed bits
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j], real[i]];
      [imag[i], imag[j]] = [imag[j], imag[i]];
    }
  }
  for (let span = 1; span < size; span *= 2) {
    for (let k = 0; k < span; k++) {
      const angle = -Math.PI * k / span, c = Math.cos(angle), s = Math.sin(angle);
      for (let a = k; a < size; a += 2 * span) {
        const b = a + span;
        const r = real[b] * c - imag[b] * s, i = real[b] * s + imag[b] * c;
        real[b] = real[a] - r;
        imag[b] = imag[a] - i;
        real[a] += r;
        imag[a] += i;
      }
    }
  }
}

// What a model file says of itself: the metadata property "kwspot", which onnxruntime-web does not
// show. An ONNX file is a protobuf message; its field 14 holds pairs of a key (1) and a value (2).
export function modelInfo(file) {
  const text = (bytes) => new TextDecoder().decode(bytes);
  for (const [field, property] of fields(file)) {
    if (field !== 14) continue;
    const pair = Object.fromEntries(fields(property));
    if (text(pair[1]) === "kwspot") return JSON.parse(text(pair[2]));
  }
  throw new Error("this is no model of kwspot: it has no metadata");
}

// The fields of a protobuf message that hold bytes, as [number, bytes]; others are passed over.
function* fields(bytes) {
  let at = 0;
  const number = () => {
    let value = 0, scale = 1;
    for (;; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (!(byte & 128)) return value; // true of what lies behind the end, too
    }
  };
  while (at < bytes.length) {
    const tag = number(), kind = tag % 8;
    if (kind === 0) number();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else if (kind === 2) {
      const size = number();
      yield [(tag - kind) / 8, bytes.subarray(at, at + size)];
      at += size;
    } else throw new Error("this is no ONNX file");
  }
}
