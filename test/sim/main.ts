import process from 'node:process'
import { parseArgs } from 'node:util'
import { type SimResult, brokenPromises, simulateDiscovery } from './discovery-sim.ts'

const HELP = `npm run sim -- discovery [--instances 10,100,1000] [--minutes 5] [--readers 100] [--seed 1] [--churn 0.1] [--json]

Runs a cluster of real directories on virtual time over a simulated broker, and breaks it: instances are replaced (half say goodbye, a
third is killed, the rest loses its power), every tenth is cut off for 30 s, some stand still for 20 s, and wall clocks jump by an hour. Then
it is quiet for a while, and every view has to be right. The same seed gives the same result. Ends with 0 where every promise was kept, 1 where
one was broken, 2 where it was called wrongly.

  --instances N,M  sizes of clusters, one row of the table each (default 10,100,1000)
  --minutes N      minutes of faults, beside those of the start and of the quiet (default 5)
  --readers N      instances that hear everybody and are judged; the others announce themselves (default 100). All of 1,000 take minutes
  --seed N         the order of everything that happens by chance (default 1)
  --churn SHARE    share of the instances that is replaced in a minute (default 0.1)
  --latency MS     most milliseconds on the way from one to another (default 10)
  --loss SHARE     share of messages that is lost (default 0.001)
  --json           the results as JSON
`

class Misused extends Error {}

function numberOf(name: string, text: string, min: number, max: number, isWhole: boolean): number {
  const value = Number(text)
  if (text.trim() !== '' && value >= min && value <= max && (!isWhole || Number.isInteger(value))) return value
  throw new Misused(`--${name} takes ${isWhole ? 'a whole number' : 'a number'} from ${min} to ${max}, not ${JSON.stringify(text)}`)
}

function given() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      instances: { type: 'string', default: '10,100,1000' }, minutes: { type: 'string', default: '5' }, readers: { type: 'string', default: '100' }, seed: { type: 'string', default: '1' },
      churn: { type: 'string', default: '0.1' }, latency: { type: 'string', default: '10' }, loss: { type: 'string', default: '0.001' }, json: { type: 'boolean', default: false }, help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return undefined
  if (positionals.length !== 1 || positionals[0] !== 'discovery') throw new Misused('Say what is to be simulated: discovery')
  return {
    sizes: values.instances.split(',').map((text) => numberOf('instances', text, 2, 20_000, true)), minutes: numberOf('minutes', values.minutes, 1, 1_000, false),
    readers: numberOf('readers', values.readers, 1, 20_000, true), seed: numberOf('seed', values.seed, 0, 1_000_000, true), churnPerMinute: numberOf('churn', values.churn, 0, 1, false),
    latencyMsMax: numberOf('latency', values.latency, 1, 10_000, true), lossShare: numberOf('loss', values.loss, 0, 1, false), isJson: values.json,
  }
}

function seconds(ms: number | undefined): string {
  return ms === undefined ? '-' : (ms / 1_000).toFixed(ms < 10_000 ? 2 : 1)
}

/** One row for each cluster, as `docs/discovery.md` shows them. */
function table(results: readonly SimResult[]): string {
  const rows = results.map(({ instances, readers, beatMs, detectedMs: { killed, lost }, joinedMs, falseDowns, inboundPerS, sentPerS }) => [
    `${instances}`, `${readers}`, seconds(beatMs), [killed.p50, killed.p99, killed.max].map(seconds).join(' / '), [lost.p50, lost.p99, lost.max].map(seconds).join(' / '),
    [joinedMs.p50, joinedMs.p99, joinedMs.max].map(seconds).join(' / '), `${falseDowns}`, `${inboundPerS.mean} / ${inboundPerS.p99 ?? 0} / ${inboundPerS.max ?? 0}`, `${sentPerS}`,
  ])
  const head = ['instances', 'readers', 'beat s', 'killed: seen after s', 'power lost: seen after s', 'joiner knows all after s', 'false downs', 'heard per s', 'sent per s']
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

function progressOf(instances: number): (seconds: number, of: number) => void {
  if (!process.stderr.isTTY) return (second, of) => void (second % 300 === 0 && process.stderr.write(`${instances} instances: ${second} of ${of} simulated seconds\n`))
  return (second, of) => void process.stderr.write(`\r${instances} instances: ${second} of ${of} simulated seconds ${second === of ? '\n' : ''}`)
}

async function main(): Promise<number> {
  const settings = given()
  if (settings === undefined) {
    process.stdout.write(HELP)
    return 0
  }
  const { sizes, isJson, ...options } = settings
  const results: SimResult[] = []
  for (const instances of sizes) results.push(await simulateDiscovery({ ...options, instances, progress: progressOf(instances) }))
  process.stdout.write(isJson ? `${JSON.stringify(results, undefined, 2)}\n` : `${table(results)}\n\np50 / p99 / max of times, and mean / p99 / max of announcements that one reader hears in a second; a message sent is a broadcast, a question or an answer.\n`)
  const broken = results.flatMap((result) => brokenPromises(result).map((problem) => `${result.instances} instances: ${problem}`))
  for (const problem of broken) process.stderr.write(`${problem}\n`)
  return broken.length === 0 ? 0 : 1
}

try {
  process.exitCode = await main()
} catch (error) {
  const isMisused = error instanceof Misused || (error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS'))
  if (!isMisused) throw error
  process.stderr.write(`${error.message}\n\n${HELP}`)
  process.exitCode = 2
}
