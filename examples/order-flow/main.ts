import { HELP, UsageError, optionsOf } from './options.ts'
import { runDemo } from './supervisor.ts'
import { summaryJson, summaryText } from './summary.ts'
import { ProgressLine } from './terminal.ts'

// The program behind `npm run demo`: options in, one summary out.

const breakOff = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => breakOff.abort(new Error(`broken off by ${signal}`)))
// The channel closes when the program that started this one is gone.
process.on('disconnect', () => breakOff.abort(new Error('the program that started the demo is gone')))

async function main(): Promise<number> {
  const options = optionsOf(process.argv.slice(2))
  if (options === 'help') {
    process.stdout.write(HELP)
    return 0
  }
  const result = await runDemo(options, new ProgressLine(process.stderr), breakOff.signal)
  process.stdout.write(options.isJson ? summaryJson(result) : summaryText(result))
  return result.problem === undefined ? 0 : 1
}

try {
  process.exitCode = await main()
} catch (error) {
  if (error instanceof UsageError) {
    process.stderr.write(`${error.message}\nSee: npm run demo -- --help\n`)
    process.exitCode = 2
  } else {
    const reason: unknown = breakOff.signal.aborted ? breakOff.signal.reason : error
    process.stderr.write(`the demo failed: ${reason instanceof Error ? reason.message : String(reason)}\n`)
    process.exitCode = 1
  }
}
// Nothing must keep a finished demo alive; the channel to whoever started it would.
if (process.connected) process.disconnect()
