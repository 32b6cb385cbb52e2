/** The answer of a command that had been handled before, as it was kept beside its mark. */
export class KeptAnswer {
  /** JSON as it was sent then; undefined where nobody waited for it then. */
  readonly body: Uint8Array | undefined

  constructor(body: Uint8Array | undefined) {
    this.body = body
  }
}
