import { LightningElement, wire } from 'lwc';
import { refreshApex } from '@salesforce/apex';
import checkConnection from '@salesforce/apex/ClosedWonConfigurationController.checkConnection';
import endpoint from '@salesforce/apex/ClosedWonConfigurationController.endpoint';
import mappingProblems from '@salesforce/apex/ClosedWonConfigurationController.mappingProblems';

const COLUMNS = [
    {
        label: 'Product or mapping',
        fieldName: 'url',
        type: 'url',
        typeAttributes: { label: { fieldName: 'name' }, target: '_blank' }
    },
    { label: 'Stigg Type', fieldName: 'stiggType', initialWidth: 140 },
    { label: 'Stigg ID', fieldName: 'stiggId', initialWidth: 220 },
    { label: 'What to correct', fieldName: 'message', wrapText: true }
];

/** What Apex, or the way to it, says went wrong. */
function messageOf(error) {
    return error?.body?.message ?? error?.message ?? 'Something went wrong; try again.';
}

/** The configuration tab: where closed-won is, whether it answers, and what is mapped wrongly. */
export default class ClosedWonConfiguration extends LightningElement {
    columns = COLUMNS;
    connection;
    endpointText = 'Loading …';
    isChecking = false;
    mapping;
    mappingError;

    wiredMapping;

    @wire(endpoint)
    receiveEndpoint({ data, error }) {
        if (data) {
            this.endpointText = data;
        } else if (data === null || error) {
            this.endpointText = 'In the Named Credential closed-won (Setup, Named Credentials).';
        }
    }

    @wire(mappingProblems)
    receiveMapping(result) {
        this.wiredMapping = result;
        this.mapping = result.data;
        this.mappingError = result.error ? messageOf(result.error) : undefined;
    }

    get connectionState() {
        return this.connection.connected ? 'Connected' : 'Not connected';
    }

    get connectionIcon() {
        return this.connection.connected ? 'utility:success' : 'utility:error';
    }

    get connectionClass() {
        return `slds-scoped-notification slds-media slds-media_center slds-theme_${
            this.connection.connected ? 'success' : 'error'
        }`;
    }

    get mappingText() {
        const checked = `${this.mapping.checked} active products with a Stigg Type or a Stigg ID were checked`;
        const part = this.mapping.isPartial ? ', the first by name; there are more.' : '.';
        return this.hasProblems ? checked + part : `${checked}${part} Nothing to correct.`;
    }

    get hasProblems() {
        return this.mapping.problems.length > 0;
    }

    get problems() {
        return this.mapping.problems.map((problem, index) => ({
            ...problem,
            key: String(index),
            name: problem.productName ?? 'Stigg Mapping',
            // A mapping has no record page: its message names it.
            url: problem.productId ? `/lightning/r/Product2/${problem.productId}/view` : '/lightning/setup/CustomMetadata/home'
        }));
    }

    async handleCheck() {
        this.isChecking = true;
        this.connection = undefined;
        try {
            this.connection = await checkConnection();
        } catch (error) {
            this.connection = { connected: false, message: messageOf(error) };
        } finally {
            this.isChecking = false;
        }
    }

    async handleRefresh() {
        await refreshApex(this.wiredMapping);
    }
}
