import { parseArgs } from 'node:util'
import { PAIRS, type Planted, SAGA_PAIRS } from './plan.ts'
import { type TortureResult, torture } from './torture.ts'

const PLANTED: readonly Planted[] = ['ack-before-commit', 'no-inbox', 'delete-before-publish', 'checkpoint-by-id', 'alarm-lost', 'sent-before-append', 'compensation-skipped', 'conflict-burns-attempts']

const HELP = `npm run torture -- --store sqlite|postgres|eventstoredb --transport sqlite|nats|rabbitmq|postgres --kills N [--json]

Kills processes, brokers and databases at random while money is moved between accounts, then counts every cent, every event and
every effect. Servers are started privately and stopped again. SIGTERM ends the killing and begins the counting. Ends with 0 where
nothing is lost, doubled or out of order.

  --store S       what keeps rows, events and outbox (default sqlite)
                  eventstoredb is the protocol double of test/esdb-double, as a process with its log in a file
  --transport T   what carries the messages (default sqlite); the pairs are ${PAIRS.map((pair) => pair.join('+')).join(', ')}
  --sagas         each transfer is a saga with compensations, over ${SAGA_PAIRS.map((pair) => pair.join('+')).join(', ')}
  --kills N       kills, each followed by seen progress (default 20)
  --per-second N  transfers a second that each of two producers asks for (default 20, with eventstoredb or sagas 5, with both 1)
  --seed N        the order of the kills (default 1)
  --planted BUG   over postgres and nats, with a bug in it that must be found, the last four with --sagas:
                  ${PLANTED.join(', ')}
  --logs DIR      keep what processes and servers have logged
  --json          the result as JSON
`

function whole(name: string, text: string): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1 && value <= 1_000_000) return value
  process.stderr.write(`--${name} takes a whole number from 1, not ${text}\n`)
  process.exit(2)
}

function oneOf<T extends string>(name: string, text: string, names: readonly T[]): T {
  const found = names.find((candidate) => candidate === text)
  if (found !== undefined) return found
  process.stderr.write(`--${name} takes one of ${names.join(', ')}, not ${text}\n`)
  process.exit(2)
}

function report(result: TortureResult): string {
  const { lost, doubled, outOfOrder, ghosts, balances, problem, killed, recoveryMs } = result
  const recovered = (['service', 'relay', 'server'] as const).filter((target) => killed[target] > 0).map((target) => `${target} ${recoveryMs.of[target].p50}/${recoveryMs.of[target].max} ms`)
  return [
    `${result.store} and ${result.transport}: ${result.messages} messages of ${result.requests} transfers, ${result.kills} kills in ${result.seconds} s`,
    `  killed: ${killed.service} services, ${killed.relay} relays, ${killed.server} servers; frozen beside that: ${result.frozen}`,
    `  lost ${lost}, doubled ${doubled}, out of order ${outOfOrder}, ghosts ${ghosts}, balances ${balances ? 'right' : 'WRONG'}`,
    `  progress everywhere after a kill: p50 ${recoveryMs.p50} ms, max ${recoveryMs.max} ms (${recovered.join(', ')})`,
    ...(problem === undefined ? [] : [`  problem: ${problem}`]),
    '',
  ].join('\n')
}

async function main(): Promise<void> {
  let values
  try {
    ({ values } = parseArgs({
      options: {
        store: { type: 'string', default: 'sqlite' }, transport: { type: 'string', default: 'sqlite' }, kills: { type: 'string', default: '20' },
        'per-second': { type: 'string' }, planted: { type: 'string' }, logs: { type: 'string' }, sagas: { type: 'boolean', default: false }, seed: { type: 'string', default: '1' }, json: { type: 'boolean', default: false }, help: { type: 'boolean', default: false },
      },
    }))
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${HELP}`)
    process.exit(2)
  }
  if (values.help) {
    process.stdout.write(HELP)
    return
  }
  const pairs = values.sagas ? SAGA_PAIRS : PAIRS
  const store = oneOf('store', values.store, [...new Set(pairs.map(([name]) => name))])
  const transport = oneOf('transport', values.transport, pairs.filter(([name]) => name === store).map(([, name]) => name))
  // Whoever has no more time is told what was reckoned until then.
  const enough = new AbortController()
  process.once('SIGTERM', () => enough.abort())
  const result = await torture({
    signal: enough.signal,
    store, transport, isSagas: values.sagas, kills: whole('kills', values.kills), seed: whole('seed', values.seed), logsDir: values.logs,
    ...(values['per-second'] === undefined ? {} : { perSecond: whole('per-second', values['per-second']) }),
    ...(values.planted === undefined ? {} : { planted: oneOf('planted', values.planted, PLANTED) }),
    say: (text) => process.stderr.write(`${text}\n`),
  })
  process.stdout.write(values.json ? `${JSON.stringify(result, undefined, 2)}\n` : report(result))
  const isRight = result.lost + result.doubled + result.outOfOrder + result.ghosts === 0 && result.balances && result.problem === undefined
  process.exitCode = isRight ? 0 : 1
}

await main()
