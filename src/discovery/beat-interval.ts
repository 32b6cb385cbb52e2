/** Announcements in a second that a reader of all services hears at most when nothing happens. */
export const COMMON_BEATS_PER_S = 60
/** Announcements in a second that a reader hears at most of one service that it is interested in. */
export const SERVICE_BEATS_PER_S = 30

/** Announcements in a second that a reader takes at most; what is beyond is dropped, and comes again with the next announcement. */
export const HEARD_PER_S_MAX = 100

/** Milliseconds between two announcements for those who hear all services: longer in a large cluster, so that what each hears stays bounded. */
export function commonBeatMs(baseMs: number, clusterSize: number): number {
  return Math.max(baseMs, Math.ceil((clusterSize * 1_000) / COMMON_BEATS_PER_S))
}

/** Milliseconds between two announcements for those who hear this service. */
export function serviceBeatMs(baseMs: number, serviceSize: number): number {
  return Math.max(baseMs, Math.ceil((serviceSize * 1_000) / SERVICE_BEATS_PER_S))
}

/** Longest time over which a first announcement is spread: none in a small cluster. */
export function startSpreadMs(clusterSize: number): number {
  return clusterSize <= HEARD_PER_S_MAX ? 0 : (clusterSize * 1_000) / COMMON_BEATS_PER_S
}

/** Longest first wait after a link has come back: 0.1 s alone, 10 s with a thousand others that do the same. */
export function returnSpreadMs(clusterSize: number): number {
  return Math.min(10_000, 100 + clusterSize * 10)
}

/** Allows so many in a second, and as many at once. */
export class RateLimit {
  readonly #perS: number
  #tokens: number
  #lastMs: number

  constructor(perS: number, nowMs: number) {
    this.#perS = perS
    this.#tokens = perS
    this.#lastMs = nowMs
  }

  /** False where there were too many. */
  take(nowMs: number): boolean {
    this.#tokens = Math.min(this.#perS, this.#tokens + ((nowMs - this.#lastMs) * this.#perS) / 1_000)
    this.#lastMs = nowMs
    if (this.#tokens < 1) return false
    this.#tokens -= 1
    return true
  }
}
