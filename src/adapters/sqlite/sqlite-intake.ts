import type { SqliteTurn, SqliteTurnTail } from './sqlite-turn.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import type { SqliteInstances } from './sqlite-instances.ts'
import type { SqliteLight } from './sqlite-light.ts'
import type { SqliteSubscription } from './sqlite-subscription.ts'

/** What every consuming transaction ends with: the heartbeat when due, claims, and the light-plane inbox. */
export class SqliteIntake implements SqliteTurnTail {
  readonly #instances: SqliteInstances
  readonly #light: SqliteLight
  readonly #subscriptions = new Set<SqliteSubscription>()
  readonly #connection: SqliteConnection
  #isStopped = false

  constructor(instances: SqliteInstances, light: SqliteLight, connection: SqliteConnection) {
    this.#instances = instances
    this.#light = light
    this.#connection = connection
  }

  add(subscription: SqliteSubscription): void {
    this.#subscriptions.add(subscription)
  }

  /** Forgets a subscription; true where no other one of its group is left. */
  remove(subscription: SqliteSubscription): boolean {
    this.#subscriptions.delete(subscription)
    for (const other of this.#subscriptions) if (other.groupId === subscription.groupId) return false
    return true
  }

  /** Closes every subscription. */
  async closeAll(): Promise<void> {
    await Promise.all([...this.#subscriptions].map((subscription) => subscription.close()))
  }

  /** Takes nothing any more. */
  stop(): void {
    this.#isStopped = true
  }

  /** Work may have come for these groups. */
  wakeGroups(groups: ReadonlySet<number>): void {
    for (const subscription of this.#subscriptions) if (groups.has(subscription.groupId)) subscription.wake()
  }

  /** Work may have come for anyone. */
  wakeAll(): void {
    for (const subscription of this.#subscriptions) subscription.wake()
    this.#light.wake()
  }

  /** The pulse. */
  check(): void {
    for (const subscription of this.#subscriptions) subscription.check()
  }

  wants(connection: SqliteConnection): boolean {
    if (this.#isStopped) return false
    return this.#instances.isBeatDue() || this.hasWork(connection)
  }

  /** True where a message waits that this instance can take. Reads only. */
  hasWork(connection: SqliteConnection): boolean {
    if (this.#isStopped) return false
    if (this.#light.wants(connection)) return true
    for (const subscription of this.#subscriptions) if (subscription.wants(connection)) return true
    return false
  }

  run(turn: SqliteTurn): void {
    if (this.#isStopped) return
    const owner = this.#instances.ensure(turn)
    for (const subscription of this.#subscriptions) subscription.claim(turn, owner)
    this.#light.take(turn)
  }

  done(): void {
    if (this.#isStopped) return
    this.#instances.confirm()
    for (const subscription of this.#subscriptions) subscription.handOut(this.#connection)
    this.#light.handOut()
  }
}
