import { parseArgs } from 'node:util'
import { type TortureResult, torture } from './torture.ts'

const HELP = `npm run torture -- --store sqlite|postgres --transport sqlite|nats|rabbitmq|postgres --kills N [--json]

Kills processes, brokers and databases at random while money is moved between accounts, then counts every cent, every event and
every effect. Servers are started privately and stopped again. Ends with 0 where nothing is lost, doubled or out of order.

  --store S       what keeps rows, events and outbox (default sqlite)
  --transport T   what carries the messages (default sqlite); postgres goes with --store postgres, sqlite with --store sqlite
  --kills N       kills, each followed by seen progress (default 20)
  --per-second N  transfers a second that each of two producers asks for (default 40)
  --seed N        the order of the kills (default 1)
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
  const { lost, doubled, outOfOrder, ghosts, balances, problem } = result
  return [
    `${result.store} and ${result.transport}: ${result.messages} messages of ${result.requests} transfers, ${result.kills} kills in ${result.seconds} s`,
    `  killed: ${Object.entries(result.killed).map(([name, count]) => `${count} ${name}`).join(', ')}`,
    `  lost ${lost}, doubled ${doubled}, out of order ${outOfOrder}, ghosts ${ghosts}, balances ${balances ? 'right' : 'WRONG'}`,
    `  recovery: half of the kills within ${result.recoveryMs.p50} ms, all within ${result.recoveryMs.max} ms`,
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
        'per-second': { type: 'string', default: '40' }, seed: { type: 'string', default: '1' }, json: { type: 'boolean', default: false }, help: { type: 'boolean', default: false },
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
  const store = oneOf('store', values.store, ['sqlite', 'postgres'])
  const transport = oneOf('transport', values.transport, store === 'sqlite' ? ['sqlite', 'nats', 'rabbitmq'] : ['postgres', 'nats', 'rabbitmq'])
  const result = await torture({
    store, transport, kills: whole('kills', values.kills), perSecond: whole('per-second', values['per-second']), seed: whole('seed', values.seed),
    say: (text) => process.stderr.write(`${text}\n`),
  })
  process.stdout.write(values.json ? `${JSON.stringify(result, undefined, 2)}\n` : report(result))
  const isRight = result.lost + result.doubled + result.outOfOrder + result.ghosts === 0 && result.balances && result.problem === undefined
  process.exitCode = isRight ? 0 : 1
}

await main()
