import { DeliveryWindow } from './delivery-window.ts'
import { OrderedLane } from './lane.ts'
import type { Lane, LaneSettings, Lanes, LanesSettings } from './lane-port.ts'

/**
 * Order per key for one group on a broker without a database. The adapter finds out which lanes this process owns
 * (`laneMoves` tells how many it should own) and opens each with its backing.
 */
export function lanes(settings: LanesSettings): Lanes {
  return new GroupLanes(settings)
}

class GroupLanes implements Lanes {
  readonly #settings: LanesSettings
  readonly #window: DeliveryWindow
  readonly #open = new Set<OrderedLane>()

  constructor(settings: LanesSettings) {
    this.#settings = settings
    this.#window = new DeliveryWindow(settings.inFlightMax, settings.sink)
  }

  open(settings: LaneSettings): Lane {
    const lane = new OrderedLane(this.#settings, settings, this.#window, () => {
      this.#open.delete(lane)
    })
    this.#open.add(lane)
    return lane
  }

  pause(): void {
    this.#window.pause()
  }

  resume(): void {
    this.#window.resume()
    for (const lane of this.#open) lane.resume()
  }
}
