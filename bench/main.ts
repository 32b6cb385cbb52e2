import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { Ratio, Result } from './measure.ts'

type Suite = (rounds: number, progress: (text: string) => void) => Promise<{ readonly results: Map<string, Result>; readonly ratios: readonly Ratio[] }>

/** Suites by name; each is loaded only when it runs, so that no client of one disturbs another. */
const SUITES: Readonly<Record<string, Readonly<Record<string, () => Promise<Suite>>>>> = {
  transport: {
    start: async () => (await import('./transport-start.ts')).startSuite,
    memory: async () => (await import('./transport-memory.ts')).memorySuite,
    sqlite: async () => (await import('./transport-sqlite.ts')).sqliteSuite,
    nats: async () => (await import('./transport-nats.ts')).natsSuite,
    rabbitmq: async () => (await import('./transport-rabbitmq.ts')).rabbitmqSuite,
    postgres: async () => (await import('./transport-postgres.ts')).postgresSuite,
  },
  outbox: {
    commit: async () => (await import('./outbox-commit.ts')).commitSuite,
    'relay-nats': async () => (await import('./outbox-relay-nats.ts')).relayNatsSuite,
    'relay-rabbitmq': async () => (await import('./outbox-relay-rabbitmq.ts')).relayRabbitmqSuite,
    units: async () => (await import('./outbox-units.ts')).unitsSuite,
    path: async () => (await import('./outbox-path.ts')).pathSuite,
    idle: async () => (await import('./outbox-idle.ts')).idleSuite,
  },
  saga: {
    memory: async () => (await import('./saga-steps.ts')).memorySagaSuite,
    sqlite: async () => (await import('./saga-steps.ts')).sqliteSagaSuite,
    postgres: async () => (await import('./saga-steps.ts')).postgresSagaSuite,
    peers: async () => (await import('./saga-peers.ts')).sagaPeersSuite,
    waiting: async () => (await import('./saga-waiting.ts')).waitingSuite,
  },
  call: {
    policies: async () => (await import('./call-policies.ts')).policiesSuite,
    balance: async () => (await import('./call-balance.ts')).balanceSuite,
  },
  store: {
    append: async () => (await import('./store-append.ts')).appendSuite,
    follow: async () => (await import('./store-follow.ts')).followSuite,
    order: async () => (await import('./store-order.ts')).orderSuite,
    sqlite: async () => (await import('./store-sqlite.ts')).sqliteStoreSuite,
  },
}

const HELP = `npm run bench -- <suite> [--only part,part] [--rounds N] [--json]

  suites   ${Object.entries(SUITES).map(([name, parts]) => `${name} (${Object.keys(parts).join(', ')})`).join('; ')}
  --only   parts of the suite, separated by commas
  --rounds rounds that are counted, after one warm-up (default 5)
  --json   one JSON document on standard output
  --help   this text

Every part runs the library, the raw client and the peers in turn in one process against the same private
server, and prints medians and ratios. Exit code 1 when a ratio misses its bound.`

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { only: { type: 'string' }, rounds: { type: 'string', default: '5' }, json: { type: 'boolean', default: false }, help: { type: 'boolean', default: false } },
  })
  const suite = SUITES[positionals[0] ?? '']
  if (values.help || suite === undefined) {
    console.log(HELP)
    return values.help ? 0 : 2
  }
  const parts = values.only === undefined ? Object.keys(suite) : values.only.split(',')
  if (parts.length > 1) return everyPart(positionals[0] ?? '', parts, process.argv.slice(2))
  const progress = (text: string): void => void process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${text}` : '')
  const all: { part: string; results: Result[]; ratios: readonly Ratio[] }[] = []
  for (const part of parts) {
    const load = suite[part]
    if (load === undefined) {
      console.error(`there is no part ${JSON.stringify(part)}; there are ${Object.keys(suite).join(', ')}`)
      return 2
    }
    const run = await load()
    const { results, ratios } = await run(Number(values.rounds), (text) => progress(`${part}: ${text}`))
    progress('')
    all.push({ part, results: [...results.values()], ratios })
    if (!values.json) print(part, results, ratios)
  }
  const missed = all.flatMap(({ ratios }) => ratios).filter((ratio) => !holds(ratio))
  if (values.json) console.log(JSON.stringify({ node: process.version, rounds: Number(values.rounds), parts: all, missed }, undefined, 2))
  else console.log(missed.length === 0 ? '\nevery bound holds' : `\n${missed.length} bounds missed: ${missed.map(({ name }) => name).join('; ')}`)
  return missed.length === 0 ? 0 : 1
}

/** Each part in a process of its own: what one leaves in the heap and in the compiler's caches must not count for the next. */
function everyPart(suite: string, parts: readonly string[], args: readonly string[]): number {
  const rest = args.filter((arg, index) => arg !== suite && arg !== '--json' && arg !== '--only' && args[index - 1] !== '--only')
  const isJson = args.includes('--json')
  let worst = 0
  const documents: unknown[] = []
  for (const part of parts) {
    const { status, stdout } = spawnSync(process.execPath, [...process.execArgv, fileURLToPath(import.meta.url), suite, '--only', part, ...rest, ...(isJson ? ['--json'] : [])], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    worst = Math.max(worst, status ?? 1)
    if (isJson) documents.push(JSON.parse(stdout))
    else process.stdout.write(stdout)
  }
  if (isJson) console.log(JSON.stringify(documents, undefined, 2))
  return worst
}

function holds({ value, bound, kind }: Ratio): boolean {
  return kind === 'at least' ? value >= bound : value <= bound
}

function print(part: string, results: ReadonlyMap<string, Result>, ratios: readonly Ratio[]): void {
  console.log(`\n## ${part}\n`)
  for (const result of results.values()) {
    const rate = result.perSecond === undefined ? '' : `${Math.round(result.perSecond).toLocaleString('en')}/s (${Math.round(result.perSecondMin ?? 0).toLocaleString('en')}–${Math.round(result.perSecondMax ?? 0).toLocaleString('en')})`
    const latency = result.p50Ms === undefined ? '' : `p50 ${result.p50Ms.toFixed(2)} ms, p99 ${(result.p99Ms ?? NaN).toFixed(2)} ms`
    const value = result.value === undefined ? '' : result.value.toFixed(result.value < 10 ? 2 : 0)
    console.log(`${result.name.padEnd(56)} ${[rate, latency, value].filter((text) => text !== '').join('  ')}`)
  }
  console.log('')
  for (const ratio of ratios) console.log(`${holds(ratio) ? 'ok  ' : 'MISS'} ${ratio.name}: ${ratio.value.toFixed(2)} (${ratio.kind} ${ratio.bound})`)
}

process.exitCode = await main()
