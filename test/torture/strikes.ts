// Who is killed next: decided before anything runs, so that the shares are exact and a seed repeats the order.

/** What a kill is aimed at. */
export type Target = 'service' | 'relay' | 'server'
/** Shares of the kills. */
export type Mix = Readonly<Record<Target, number>>

/** Six of ten kills end a service, two a relay, two a broker or a database. */
export const MIX: Mix = { service: 60, relay: 20, server: 20 }

/** Numbers from 0 to 1 that a seed repeats (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000
  }
}

/** The targets of all kills in their order. Where there is no server, its share goes to the others. */
export function targetsOf(kills: number, mix: Mix, hasServers: boolean, random: () => number): readonly Target[] {
  const shares: Mix = hasServers ? mix : { ...mix, server: 0 }
  const whole = shares.service + shares.relay + shares.server
  const servers = Math.round((kills * shares.server) / whole)
  const relays = Math.round((kills * shares.relay) / whole)
  const targets: Target[] = Array.from({ length: kills }, (_, at) => (at < servers ? 'server' : at < servers + relays ? 'relay' : 'service'))
  for (let at = targets.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1))
    const [one, two] = [targets[at], targets[other]]
    if (one !== undefined && two !== undefined) [targets[at], targets[other]] = [two, one]
  }
  return targets
}
