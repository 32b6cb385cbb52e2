/** What one run of a case found. */
export interface Sample {
  /** Operations a second, where the case counts them. */
  readonly perSecond?: number
  /** Milliseconds of single operations, where the case times them. */
  readonly latenciesMs?: readonly number[]
  /** Any other figure, such as bytes or milliseconds. */
  readonly value?: number
}

/** One thing to measure; cases of a suite are run in turn, round by round, in one process. */
export interface Case {
  readonly name: string
  readonly run: () => Promise<Sample>
}

/** Medians over the rounds. */
export interface Result {
  readonly name: string
  readonly perSecond?: number
  readonly perSecondMin?: number
  readonly perSecondMax?: number
  readonly p50Ms?: number
  readonly p99Ms?: number
  readonly value?: number
}

/** A ratio of two results, and the floor or ceiling that it has to keep. */
export interface Ratio {
  readonly name: string
  readonly value: number
  readonly bound: number
  readonly kind: 'at least' | 'at most'
}

/** The middle of the numbers. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? (sorted[middle] ?? NaN) : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2
}

/** The value below which `share` of the numbers lie. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((left, right) => left - right)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN
}

/** Runs every case once to warm up, then `rounds` times in turn, and gives the medians. */
export async function measure(cases: readonly Case[], rounds: number, progress: (text: string) => void): Promise<Map<string, Result>> {
  const samples = new Map<string, Sample[]>(cases.map(({ name }) => [name, []]))
  for (let round = 0; round <= rounds; round++) {
    for (const { name, run } of cases) {
      progress(round === 0 ? `warm-up: ${name}` : `round ${round}/${rounds}: ${name}`)
      const sample = await run()
      if (round > 0) samples.get(name)?.push(sample)
    }
  }
  return new Map([...samples].map(([name, taken]) => [name, resultOf(name, taken)]))
}

function resultOf(name: string, samples: readonly Sample[]): Result {
  const rates = samples.flatMap(({ perSecond }) => perSecond ?? [])
  const values = samples.flatMap(({ value }) => value ?? [])
  const timed = samples.flatMap(({ latenciesMs }) => (latenciesMs === undefined ? [] : [latenciesMs]))
  return {
    name,
    ...(rates.length === 0 ? {} : { perSecond: median(rates), perSecondMin: Math.min(...rates), perSecondMax: Math.max(...rates) }),
    ...(timed.length === 0 ? {} : { p50Ms: median(timed.map((all) => percentile(all, 0.5))), p99Ms: median(timed.map((all) => percentile(all, 0.99))) }),
    ...(values.length === 0 ? {} : { value: median(values) }),
  }
}

/** Calls `operation` `count` times with at most `window` unfinished, and counts per second. */
export async function windowed(count: number, window: number, operation: (index: number) => Promise<unknown>, latenciesMs?: number[]): Promise<number> {
  const startedMs = performance.now()
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < count) {
      const index = next++
      const sentMs = latenciesMs === undefined ? 0 : performance.now()
      await operation(index)
      latenciesMs?.push(performance.now() - sentMs)
    }
  }
  await Promise.all(Array.from({ length: Math.min(window, count) }, worker))
  return (count / (performance.now() - startedMs)) * 1_000
}

/** Calls `operation` at a steady rate, and gives the latency of each call in milliseconds. */
export async function paced(count: number, perSecond: number, operation: (index: number) => Promise<unknown>): Promise<number[]> {
  const latenciesMs: number[] = []
  const startedMs = performance.now()
  const running: Promise<void>[] = []
  for (let index = 0; index < count; ) {
    const due = Math.min(count, Math.floor(((performance.now() - startedMs) / 1_000) * perSecond) + 1)
    for (; index < due; index++) {
      const sentMs = performance.now()
      running.push(operation(index).then(() => void latenciesMs.push(performance.now() - sentMs)))
    }
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  await Promise.all(running)
  return latenciesMs
}

/** Resolves when `tick` was called `count` times; `reset` starts the next count. */
export class Counter {
  #left = 0
  #done: () => void = () => {}
  #target: Promise<void> = Promise.resolve()

  expect(count: number): Promise<void> {
    this.#left = count
    this.#target = new Promise((resolve) => {
      this.#done = resolve
    })
    return this.#target
  }

  readonly tick = (): void => {
    if (--this.#left === 0) this.#done()
  }
}
