import { parseArgs } from 'node:util'
import { esdbDouble } from './esdb-double.ts'

// The double as a process of its own: `node test/esdb-double/main.ts --port N --data DIR [--sync] [--keep-alive-ms N]`.

const { values } = parseArgs({
  options: { port: { type: 'string' }, data: { type: 'string' }, sync: { type: 'boolean' }, 'keep-alive-ms': { type: 'string' } },
})

const double = await esdbDouble({
  port: Number(values.port ?? 0),
  ...(values.data === undefined ? {} : { dataDir: values.data }),
  isSynced: values.sync ?? false,
  ...(values['keep-alive-ms'] === undefined ? {} : { keepAliveMs: Number(values['keep-alive-ms']) }),
})
process.stdout.write(`listening on ${double.port}\n`)
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    void double.close().then(() => process.exit(0))
  })
}
