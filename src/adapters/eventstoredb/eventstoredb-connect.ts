import { backoffMs } from '../../core/backoff.ts'
import { sleep } from '../../core/clock.ts'
import { RECONNECT_DELAY_MAX_MS, RECONNECT_INITIAL_MS } from '../../core/limits.ts'
import type { Random } from '../../core/random.ts'
import { loadEsdbClient, type EsdbConnect, type EsdbCredentials } from './eventstoredb-client.ts'
import type { EsdbFailure } from './eventstoredb-failure.ts'
import { EsdbLink, type LinkHost } from './eventstoredb-link.ts'
import type { EsdbSettings, EsdbTarget, EventStoreDbOptions } from './eventstoredb-options.ts'
import { settingsOf, targetOf } from './eventstoredb-options.ts'

const RECONNECT = { initialMs: RECONNECT_INITIAL_MS, factor: 2, maxMs: RECONNECT_DELAY_MAX_MS }

/** Checked options. */
export interface EsdbPlan {
  readonly settings: EsdbSettings
  readonly target: EsdbTarget | undefined
  readonly connect: EsdbConnect | undefined
  readonly credentials: EsdbCredentials | undefined
}

/** What a link is opened with. */
export interface ConnectHost extends LinkHost {
  readonly random: Random
  readonly service: string
  readonly instance: string
}

/** Checks options. @throws `core.option_invalid`. */
export function planOf(options: EventStoreDbOptions): EsdbPlan {
  const settings = settingsOf(options)
  if ('connect' in options) return { settings, target: undefined, connect: options.connect, credentials: options.credentials }
  const target = targetOf(options)
  return { settings, target, connect: undefined, credentials: target.credentials }
}

/**
 * Makes a link and resolves once the server answers.
 *
 * @returns the link, or why none could be made within the time that the options give.
 * @throws `core.peer_missing`.
 */
export async function connectEsdb(plan: EsdbPlan, host: ConnectHost): Promise<EsdbLink | EsdbFailure> {
  const { settings, target, credentials } = plan
  const connect = plan.connect ?? (await connectTo(target, `${host.service} ${host.instance}`))
  if (target?.warning !== undefined) host.logger.warn({ problem: target.warning }, 'an option has no effect') // guard 21
  const link = new EsdbLink(host, connect, { callTimeoutMs: settings.callTimeoutMs, credentials })
  const endMs = host.clock.monotonicMs() + settings.openTimeoutMs
  for (let tries = 1; ; tries++) {
    const leftMs = Math.max(1, endMs - host.clock.monotonicMs())
    // The first call of a client goes alone: with several the first one would go out last (guard 6).
    const result = await link.read((client) => client.readAll({ ...link.callOptions, direction: 'backwards', fromPosition: 'end', maxCount: 1 }), Math.min(leftMs, settings.callTimeoutMs))
    if (result.kind === 'done') return link
    const waitMs = backoffMs(RECONNECT, tries, host.random)
    const isHopeless = result.failure.kind === 'refused'
    if (isHopeless || host.clock.monotonicMs() + waitMs >= endMs) {
      await link.close()
      return result.failure
    }
    await sleep(host.clock, waitMs)
  }
}

async function connectTo(target: EsdbTarget | undefined, name: string): Promise<EsdbConnect> {
  const load = await loadEsdbClient()
  return () => load(target?.connectionString(name) ?? '')
}
