import { connectEsdb, planOf } from '../../../src/adapters/eventstoredb/eventstoredb-connect.ts'
import { EsdbLink } from '../../../src/adapters/eventstoredb/eventstoredb-link.ts'
import { EsdbLog } from '../../../src/adapters/eventstoredb/eventstoredb-log.ts'
import type { EventStoreDbServerOptions } from '../../../src/adapters/eventstoredb/eventstoredb-options.ts'
import { silentLogger } from '../../../src/core/logger.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { systemRandom } from '../../../src/core/random.ts'

/** A link to a double, and what it has told. */
export interface LinkRig extends AsyncDisposable {
  readonly link: EsdbLink
  readonly log: EsdbLog
  readonly reports: string[]
  readonly warnings: string[]
}

/** Opens a link to a server that is on this machine, with times that suit a test. */
export async function openLink(port: number, options: Partial<EventStoreDbServerOptions> = {}): Promise<LinkRig> {
  const plan = planOf({ hosts: `127.0.0.1:${port}`, tls: false, callTimeoutMs: 2_000, silenceMaxMs: 500, ...options })
  const reports: string[] = []
  const warnings: string[] = []
  const logger = { ...silentLogger, warn: (fields: object | string, text?: string) => void warnings.push(text ?? JSON.stringify(fields)) }
  const link = await connectEsdb(plan, {
    clock: systemClock, random: systemRandom, logger, service: 'test', instance: 'one', report: (state, reason) => reports.push(`${state} ${reason}`.trim()),
  })
  if (!(link instanceof EsdbLink)) throw new Error(`no link: ${link.problem}`)
  return { link, log: new EsdbLog(() => link, plan.settings.silenceMaxMs), reports, warnings, [Symbol.asyncDispose]: () => link.close() }
}
