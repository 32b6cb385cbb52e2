import type { Instance, InstanceState } from './directory-state.ts'

/** One service as a reader sees it. */
export interface CatalogueService {
  readonly service: string
  /** Instances by state; states without any are left out. */
  readonly instances: Readonly<Partial<Record<InstanceState, number>>>
  /** Versions that are there, each with its number of instances. */
  readonly versions: Readonly<Record<string, number>>
  /** The earliest start of the instances that are there, by their own clocks; RFC 3339, undefined where none is there. */
  readonly upSince: string | undefined
  /** Milliseconds since any instance was heard, by the reader's clock. */
  readonly lastSeenMs: number
  /** Types that it handles. */
  readonly accepts: readonly string[]
  /** Types that it sends. */
  readonly sends: readonly string[]
}

/** One contract, and who is on either side of it. */
export interface CatalogueContract {
  readonly type: string
  readonly kind: 'event' | 'command' | 'query'
  /** Versions in use, each with its services. */
  readonly versions: Readonly<Record<string, readonly string[]>>
  readonly publishers: readonly string[]
  readonly consumers: readonly string[]
}

/** What is there, by service and by contract, each by name. */
export interface Catalogue {
  readonly services: readonly CatalogueService[]
  readonly contracts: readonly CatalogueContract[]
}

/** What a set of instances makes up. Those that are gone count as seen, but neither send nor handle anything. */
export function catalogueOf(instances: readonly Instance[]): Catalogue {
  const services = Map.groupBy(instances, ({ service }) => service)
  return { services: [...services].map(([service, members]) => serviceOf(service, members)).toSorted(by('service')), contracts: contractsOf(instances.filter(isThere)) }
}

function isThere({ state }: Instance): boolean {
  return state !== 'down' && state !== 'stopped'
}

function serviceOf(service: string, members: readonly Instance[]): CatalogueService {
  const there = members.filter(isThere)
  return {
    service,
    instances: counts(members.map(({ state }) => state)),
    versions: counts(there.map(({ version }) => version)),
    upSince: there.map(({ startedAt }) => startedAt).toSorted()[0],
    lastSeenMs: Math.min(...members.map(({ silentMs }) => silentMs)),
    accepts: sorted(there.flatMap(({ accepts }) => accepts.map(({ type }) => type))),
    sends: sorted(there.flatMap(({ sends }) => sends.map(({ type }) => type))),
  }
}

interface Side {
  readonly service: string
  readonly isConsumer: boolean
  readonly type: string
  readonly kind: CatalogueContract['kind']
  readonly version: number
}

function contractsOf(there: readonly Instance[]): readonly CatalogueContract[] {
  const sides: readonly Side[] = there.flatMap(({ service, accepts, sends }) => [
    ...accepts.map(({ type, kind, version }) => ({ service, type, kind, version, isConsumer: true })),
    ...sends.map(({ type, kind, version }) => ({ service, type, kind, version, isConsumer: false })),
  ])
  const contracts = [...Map.groupBy(sides, ({ type }) => type)].flatMap(([type, uses]) => {
    const [first] = uses
    if (first === undefined) return []
    const versions = Object.fromEntries([...Map.groupBy(uses, ({ version }) => `${version}`)].map(([version, users]) => [version, sorted(users.map(({ service }) => service))]))
    const services = (isConsumer: boolean): readonly string[] => sorted(uses.filter((use) => use.isConsumer === isConsumer).map(({ service }) => service))
    return [{ type, kind: first.kind, versions, publishers: services(false), consumers: services(true) }]
  })
  return contracts.toSorted(by('type'))
}

function counts<K extends string>(keys: readonly K[]): Readonly<Partial<Record<K, number>>> & Readonly<Record<string, number>> {
  const counted: Record<string, number> = {}
  for (const key of keys) counted[key] = (counted[key] ?? 0) + 1
  // Every key was one of the given ones.
  return counted as Partial<Record<K, number>> & Record<string, number>
}

function sorted(texts: readonly string[]): readonly string[] {
  return [...new Set(texts)].toSorted()
}

function by<K extends string>(name: K): (left: Readonly<Record<K, string>>, right: Readonly<Record<K, string>>) => number {
  return (left, right) => (left[name] < right[name] ? -1 : left[name] > right[name] ? 1 : 0)
}
