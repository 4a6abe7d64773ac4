import { LightningElement, api } from 'lwc';
import { CloseActionScreenEvent } from 'lightning/actions';
import previewOpportunity from '@salesforce/apex/ClosedWonPreview.previewOpportunity';

/** The quick action Preview in Stigg: what would change in Stigg if the opportunity were won now. */
export default class ClosedWonPreview extends LightningElement {
    isLoading = true;
    message;
    preview;

    _recordId;

    /** Set by the page after the component is connected: the preview starts here, not in connectedCallback. */
    @api
    get recordId() {
        return this._recordId;
    }
    set recordId(value) {
        if (value && value !== this._recordId) {
            this._recordId = value;
            this.load();
        }
    }

    get heading() {
        return this.preview.status === 'held'
            ? 'If this deal were won now, it would wait for somebody to decide:'
            : 'If this deal were won now:';
    }

    get summary() {
        return this.preview?.summary;
    }

    get warnings() {
        return this.preview?.warnings;
    }

    get details() {
        return this.preview?.details;
    }

    async load() {
        this.isLoading = true;
        this.message = undefined;
        this.preview = undefined;
        try {
            this.preview = await previewOpportunity({ opportunityId: this._recordId });
            this.message = this.preview.errorMessage ?? undefined;
        } catch (error) {
            this.message = error?.body?.message ?? 'The preview failed; nothing was changed.';
        } finally {
            this.isLoading = false;
        }
    }

    handleClose() {
        this.dispatchEvent(new CloseActionScreenEvent());
    }
}
