/** Aborts never: what is handed on where nobody can cancel. One value, so that it can be recognised and costs no listener. */
export const neverAborted: AbortSignal = new AbortController().signal

/** A controller that aborts with another signal; `release` lets go of that signal. */
export interface LinkedController {
  readonly controller: AbortController
  readonly release: () => void
}

const nothing = (): void => {}

/** Makes a controller that aborts when `parent` does, with its reason. */
export function linkedController(parent: AbortSignal): LinkedController {
  const controller = new AbortController()
  if (parent === neverAborted) return { controller, release: nothing }
  if (parent.aborted) {
    controller.abort(parent.reason)
    return { controller, release: nothing }
  }
  const aborted = (): void => controller.abort(parent.reason)
  parent.addEventListener('abort', aborted, { once: true })
  return { controller, release: () => parent.removeEventListener('abort', aborted) }
}
